"""Pictures on the device against OpenCV and NumPy, bit for bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision import gate, observe
from edge.vision.cuda.device import THREADS, Device, blocks
from edge.vision.cuda.observe import Coarse, Pictures, coarsen, moved_pixels
from edge.vision.cuda.tables import Shrinking
from engines.errors import UsageError

sides = st.integers(2, 70)


@given(height=sides, width=sides, rows=sides, columns=sides, channels=st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_area_reduction_of_pictures_is_opencvs(
    device: Device, height: int, width: int, rows: int, columns: int, channels: int
) -> None:
    rows, columns = min(rows, height), min(columns, width)
    picture = np.random.default_rng(height).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )
    result = device.empty((rows, columns, channels), np.uint8)
    Shrinking(device, (height, width), (rows, columns)).run(
        device.upload(picture), result, channels
    )
    expected = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(device.download(result), expected.reshape(result.shape))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 6])
def test_reduction_by_whole_factors_is_opencvs(device: Device, factor: int) -> None:
    rng = np.random.default_rng(factor)
    picture = rng.integers(0, 256, (12 * factor, 20 * factor), dtype=np.uint8)
    result = device.empty((12, 20), np.uint8)
    Shrinking(device, picture.shape, (12, 20)).run(device.upload(picture), result)
    expected = cv2.resize(picture, (20, 12), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(device.download(result), expected)


@given(height=st.integers(4, 90), width=st.integers(4, 90), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_coarse_flow_is_the_twins(device: Device, height: int, width: int, seed: int) -> None:
    flow = np.random.default_rng(seed).normal(0.0, 3.0, (height, width, 2)).astype(np.float32)
    np.testing.assert_array_equal(coarsen(device, flow), observe.coarsen(flow))


def test_a_frame_becomes_a_working_size_picture_and_its_grey(device: Device) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (96, 130, 3), dtype=np.uint8)
    pictures = Pictures(device, (96, 130), (56, 84))
    bgr = pictures.resize(device.upload(frame))
    expected = observe.resize(frame, 84, 56)
    np.testing.assert_array_equal(device.download(bgr), expected)
    np.testing.assert_array_equal(
        device.download(pictures.grey(bgr)), cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY)
    )
    same = device.upload(expected)
    assert Pictures(device, (56, 84), (56, 84)).resize(same) is same


def test_every_shade_of_grey_is_opencvs(device: Device) -> None:
    values = np.arange(0, 256, 5, dtype=np.uint8)
    bgr = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(-1, 52, 3)
    shape = bgr.shape[:2]
    grey = Pictures(device, shape, shape).grey(device.upload(bgr))
    np.testing.assert_array_equal(device.download(grey), cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))


def test_enlarging_is_refused(device: Device) -> None:
    with pytest.raises(UsageError, match="84 x 56 px cannot be enlarged") as caught:
        Pictures(device, (56, 84), (56, 85))
    assert caught.value.mend


@given(height=st.integers(2, 60), width=st.integers(2, 60), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_gradient_is_opencvs(device: Device, height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    dx, dy = (device.empty((height, width), np.int16) for _ in range(2))
    device.launch(
        "gradient", blocks(picture.size), THREADS, device.upload(picture), dx, dy, width, height
    )
    for one, other in zip((dx, dy), cv2.spatialGradient(picture), strict=True):
        np.testing.assert_array_equal(device.download(one), other)


@given(threshold=st.integers(0, 255), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_moved_pixels_are_the_twins(device: Device, threshold: int, seed: int) -> None:
    pair = np.random.default_rng(seed).integers(0, 256, (2, 31, 45), dtype=np.uint8)
    moved = moved_pixels(device, *pair, threshold)
    assert moved.dtype == np.bool_
    np.testing.assert_array_equal(moved, gate.moved_pixels(*pair, threshold))


def test_coarse_flow_reuses_its_buffer(device: Device) -> None:
    coarse = Coarse(device, 8, 8)
    one, two = (np.full((8, 8, 2), value, np.float32) for value in (1.0, 2.0))
    coarse.run(device.upload(one))
    assert device.download(coarse.run(device.upload(two))).max() == 2.0
