"""The CUDA flow and OpenCV's: the same algorithm with the same settings."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.video import VideoSource
from edge.vision import flow as cpu
from edge.vision.cuda.device import Device
from edge.vision.cuda.flow import REFINE_PLANES, SWEEPS, DenseFlow, fast_preset, pyramid
from edge.vision.observe import resize
from engines.errors import UsageError
from trainer.scenes import SceneSettings, render_scene

# 0.1 px on average is what the two paths owe each other. With OpenCV 5 the same sums in the same
# order leave the last digits; before it, its refinement reads pictures at whole 1/32 px only.
EXACT = int(cv2.__version__.split(".")[0]) >= 5
MEAN_ERROR_PX = 1e-4 if EXACT else 0.05
LARGEST_ERROR_PX = 0.01 if EXACT else 2.0


def textured(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def end_point_error(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.hypot(*np.moveaxis(one - other, -1, 0))


def assert_same_flow(device: Device, previous: np.ndarray, current: np.ndarray) -> None:
    expected = cpu.DenseFlow().calc(previous, current)
    flow = DenseFlow(device).calc(previous, current)
    assert (flow.shape, flow.dtype) == (expected.shape, np.float32)
    error = end_point_error(flow, expected)
    assert error.mean() < MEAN_ERROR_PX
    assert error.max() < LARGEST_ERROR_PX


def test_flow_at_working_size_is_opencvs(any_order: Device) -> None:
    big = textured(320, 460, seed=0)
    previous, current = big[20:300, 20:440].copy(), big[18:298, 17:437].copy()
    current[100:150, 100:180] = big[120:170, 125:205]  # a part that moves another way
    current[200:, 300:] = np.clip(current[200:, 300:] + 30.0, 0, 255).astype(np.uint8)  # a lamp
    assert_same_flow(any_order, previous, current)


@given(
    height=st.integers(24, 150),
    width=st.integers(24, 150),
    shift=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_flow_of_any_size_and_shift_is_opencvs(
    device: Device, height: int, width: int, shift: tuple[int, int], seed: int
) -> None:
    try:
        pyramid(height, width, fast_preset().finest)
    except UsageError:
        return  # refused below; OpenCV may crash on it
    big = textured(height + 12, width + 12, seed)
    x, y = 6 - shift[0], 6 - shift[1]
    assert_same_flow(
        device,
        np.ascontiguousarray(big[6 : 6 + height, 6 : 6 + width]),
        np.ascontiguousarray(big[y : y + height, x : x + width]),
    )


@pytest.mark.parametrize("kind", ["black", "checkers", "noise"])
def test_flow_without_texture_or_with_too_much_is_opencvs(device: Device, kind: str) -> None:
    pair = np.zeros((2, 96, 128), np.uint8)
    if kind == "checkers":  # gradients so strong that sums round
        pair[:] = np.indices((96, 128)).sum(axis=0) // 2 % 2 * 255
        pair[1] = np.roll(pair[1], 1, axis=1)
    if kind == "noise":
        pair = np.random.default_rng(3).integers(0, 256, pair.shape, dtype=np.uint8)
    assert_same_flow(device, pair[0], pair[1])


def test_a_known_shift_is_found_in_pixels_and_with_its_sign(device: Device) -> None:
    big = textured(200, 260, seed=4)
    flow = DenseFlow(device).calc(big[20:160, 20:220].copy(), big[18:158, 17:217].copy())
    assert np.abs(flow[20:-20, 20:-20] - (3.0, 2.0)).mean() < 0.1


def test_one_instance_follows_a_change_of_size(device: Device) -> None:
    flow = DenseFlow(device)
    for size in (96, 120, 96):
        pair = [textured(size, size, seed) for seed in (1, 2)]
        error = end_point_error(flow.calc(*pair), cpu.DenseFlow().calc(*pair))
        assert error.max() < LARGEST_ERROR_PX


def test_flow_on_a_rendered_clip(device: Device, tmp_path: Path) -> None:
    scene = SceneSettings(
        normal_seconds=6.0, test_seconds=2.0, anomalies=(), people_per_minute=120.0
    )
    render_scene(scene, tmp_path / "scene")
    assert_clip(device, tmp_path / "scene" / "normal" / "normal_06.avi")


def test_flow_on_real_footage(device: Device, footage: Path) -> None:
    assert_clip(device, footage / "video" / "vtest_480x360.avi")


def assert_clip(device: Device, file: Path) -> None:
    with VideoSource(file) as source:
        frames = [resize(frame.bgr, 420, 280) for _, frame in zip(range(6), source, strict=False)]
    pictures = [cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY) for bgr in frames]
    assert len(pictures) == 6
    ours, theirs = DenseFlow(device), cpu.DenseFlow()
    moved = 0.0
    for previous, current in itertools.pairwise(pictures):
        expected = theirs.calc(previous, current)
        moved = max(moved, float(np.abs(expected).max()))
        error = end_point_error(ours.calc(previous, current), expected)
        assert error.mean() < MEAN_ERROR_PX
    assert moved > 1.0  # else this shows nothing


@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    scale=st.floats(0.0, 5.0),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_refinement_alone_is_opencvs(
    device: Device, height: int, width: int, scale: float, seed: int
) -> None:
    s = fast_preset()
    rng = np.random.default_rng(seed)
    first, second = (textured(height, width, seed + n) for n in range(2))
    start = rng.normal(0.0, scale, (2, height, width)).astype(np.float32)
    theirs = cv2.VariationalRefinement.create()
    theirs.setEpsilon(s.epsilon)
    expected = theirs.calcUV(first, second, start[0].copy(), start[1].copy())
    u, v = device.upload(start[0]), device.upload(start[1])
    planes = device.empty((REFINE_PLANES, height, width), np.float32)
    device.launch(
        "refine", 1, 64, device.upload(first), device.upload(second), u, v, planes, width, height,
        s.iterations, SWEEPS, s.alpha, s.delta, s.gamma, s.epsilon,
    )  # fmt: skip
    error = np.hypot(device.download(u) - expected[0], device.download(v) - expected[1])
    assert error.max() < LARGEST_ERROR_PX


@pytest.mark.parametrize("size", [(7, 40), (40, 7), (12, 128)])
def test_a_picture_too_small_for_the_pyramid_is_refused(
    device: Device, size: tuple[int, int]
) -> None:
    picture = np.zeros(size, np.uint8)
    with pytest.raises(UsageError, match=f"{size[1]} x {size[0]} px is too small") as caught:
        DenseFlow(device).calc(picture, picture)
    assert caught.value.mend


def test_a_picture_too_tall_for_one_block_is_refused(device: Device) -> None:
    picture = np.zeros((9000, 64), np.uint8)
    with pytest.raises(UsageError, match="9000 rows is too tall"):
        DenseFlow(device).calc(picture, picture)
