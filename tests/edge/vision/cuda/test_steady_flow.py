"""Motion over time on the device against the CPU's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision import carry, speed, steady_flow
from edge.vision.cuda.device import Device
from edge.vision.cuda.steady_flow import Carried, SteadyFlow, largest_nearby


def assert_equal(device: Device, ours: object, theirs: np.ndarray | None) -> None:
    if theirs is None:
        assert ours is None
    else:
        np.testing.assert_array_equal(device.download(ours), theirs)


@pytest.mark.parametrize("channels", [1, 2, 3])
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    time_constant_s=st.sampled_from([0.0, 0.3]),
    looks=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_carried_mean_is_the_twins(
    device: Device,
    channels: int,
    rows: int,
    columns: int,
    time_constant_s: float,
    looks: list[tuple[bool, bool]],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    ours = Carried(device, (rows, columns), time_constant_s, channels=channels)
    theirs = carry.Carried((rows, columns), time_constant_s)
    size = (rows, columns) if channels == 1 else (rows, columns, channels)
    for has_values, has_flow in looks:
        values = rng.normal(0.0, 9.0, size).astype(np.float32) if has_values else None
        flow = rng.normal(0.0, 2.0, (rows, columns, 2)).astype(np.float32) if has_flow else None
        result = ours.update(
            None if values is None else device.upload(values),
            None if flow is None else device.upload(flow),
            0.1,
        )
        expected = theirs.update(values, flow, 0.1)
        assert_equal(device, result, expected)
    ours.reset()
    assert ours.value is None


def test_a_flow_far_out_of_the_picture_reads_its_edge(device: Device) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    for reach in (1e3, 3e9):
        ours = Carried(device, (3, 4), 1.0)
        ours.update(device.upload(values), None, 0.0)
        flow = np.full((3, 4, 2), (-reach, reach), np.float32)
        warped = ours.update(None, device.upload(flow), 0.1)
        np.testing.assert_array_equal(device.download(warped), np.full((3, 4), 3.0))


def test_steady_speed_and_what_it_activates_are_the_twins(any_order: Device) -> None:
    floor = 5.0
    ours = SteadyFlow(any_order, height=280, width=420, time_constant_s=0.28, floor=floor)
    theirs = steady_flow.SteadyFlow(height=280, width=420, time_constant_s=0.28)
    rng = np.random.default_rng(0)
    assert ours.velocity is None
    for _ in range(4):
        coarse = cv2.GaussianBlur(rng.normal(0.0, 3.0, (70, 105, 2)), (0, 0), 2.0)
        coarse = coarse.astype(np.float32)
        ours.update(any_order.upload(coarse), 0.1)
        theirs.update(coarse, 0.1)
        np.testing.assert_array_equal(any_order.download(ours.velocity), theirs.velocity)
        np.testing.assert_array_equal(any_order.download(ours.speed), theirs.speed)
        nearby = largest_nearby(any_order, ours.speed)
        np.testing.assert_array_equal(
            any_order.download(nearby), speed.largest_nearby(theirs.speed)
        )
    moving = (theirs.speed > floor).astype(np.float32)
    assert 0.0 < moving.mean() < 1.0
    for cells in ((14, 21), (13, 20)):
        expected = cv2.resize(moving, cells[::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(ours.share_moving(cells), expected, atol=1e-6)
    ours.reset()
    assert not any_order.download(ours.speed).any()


@given(rows=st.integers(1, 15), columns=st.integers(1, 15), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_largest_speed_nearby_is_the_twins(
    device: Device, rows: int, columns: int, seed: int
) -> None:
    grid = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    result = largest_nearby(device, device.upload(grid))
    np.testing.assert_array_equal(device.download(result), speed.largest_nearby(grid))
