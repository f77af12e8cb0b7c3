"""Counting and gathering cells against the CPU's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision.cuda.cells import GridCells, WindowCells
from edge.vision.cuda.device import Device
from edge.vision.dynamic_flow import to_unit_range
from edge.vision.gate import CellGate
from edge.vision.patches import Grid
from edge.vision.windows import WindowGrid


@given(
    height=st.integers(8, 50),
    width=st.integers(8, 50),
    patch=st.integers(1, 8),
    stride=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_grid_cells_are_the_twins(
    device: Device, height: int, width: int, patch: int, stride: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid(height, width, patch, stride)
    cells = GridCells(device, grid)
    moved = rng.random((height, width)) > 0.7
    np.testing.assert_array_equal(
        cells.count(device.upload(moved.view(np.uint8))), grid.count(moved)
    )

    rows, columns = (rng.integers(0, n, 5) for n in grid.shape)
    bgr = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = grid.gather(bgr, rows, columns)[:, ::-1].astype(np.float32) * np.float32(1.0 / 255.0)
    batch = cells.gather_picture(device.upload(bgr), rows, columns)
    np.testing.assert_array_equal(device.download(batch), picture)

    field = rng.normal(0.0, 5.0, (height, width, 3)).astype(np.float32)
    scale = float(rng.uniform(0.1, 9.0))
    motion = np.moveaxis(grid.gather(field, rows, columns), 1, -1).astype(np.float32)
    batch = cells.gather_motion(device.upload(field), rows, columns, scale=scale)
    np.testing.assert_array_equal(
        device.download(batch), np.moveaxis(to_unit_range(motion, scale), -1, 1)
    )


def test_the_gate_works_on_counts_from_the_device(any_order: Device) -> None:
    grid = Grid(280, 420, 28, 28)
    moved = np.random.default_rng(0).random((280, 420)) > 0.995
    counts = GridCells(any_order, grid).count(any_order.upload(moved.view(np.uint8)))
    active = CellGate(grid, min_pixels=4, memory=1).update(moved)
    assert 0 < active.sum() < active.size
    np.testing.assert_array_equal(counts >= 4, active)


@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    stride=st.integers(5, 20),
    top=st.floats(4.0, 60.0),
    bottom=st.floats(4.0, 60.0),
    side=st.integers(1, 33),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=40, deadline=None)
def test_windows_are_the_twins(
    device: Device,
    height: int,
    width: int,
    stride: int,
    top: float,
    bottom: float,
    side: int,
    channels: int,
) -> None:
    grid = WindowGrid(height=height, width=width, stride=stride, top=top, bottom=bottom, side=side)
    rng = np.random.default_rng(height)
    picture = rng.integers(0, 256, (height, width, 3)[: channels // 2 + 2], dtype=np.uint8)
    rows, columns = (rng.integers(0, n, 7) for n in grid.shape)
    expected = grid.gather(picture, rows, columns)
    expected = expected[:, None] if channels == 1 else np.moveaxis(expected[..., ::-1], -1, 1)
    batch = WindowCells(device, grid).gather(device.upload(picture), rows, columns)
    np.testing.assert_array_equal(
        device.download(batch), expected.astype(np.float32) * np.float32(1.0 / 255.0)
    )


@pytest.mark.parametrize("preset", [(32, False), (96, True)], ids=["fast", "accurate"])
def test_windows_of_the_presets_are_the_twins(device: Device, preset: tuple[int, bool]) -> None:
    side, colour = preset
    grid = WindowGrid(height=280, width=420, stride=20, top=31.7, bottom=74.2, side=side)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (280, 420, 3)[: 3 if colour else 2], dtype=np.uint8)
    rows, columns = np.nonzero(rng.random(grid.shape) > 0.9)
    expected = grid.gather(picture, rows, columns)
    expected = np.moveaxis(expected[..., ::-1], -1, 1) if colour else expected[:, None]
    batch = WindowCells(device, grid).gather(device.upload(picture), rows, columns)
    np.testing.assert_array_equal(
        device.download(batch), expected.astype(np.float32) * np.float32(1.0 / 255.0)
    )


def test_no_cells_are_an_empty_batch(device: Device) -> None:
    none = np.zeros(0, np.int64)
    picture = device.upload(np.zeros((40, 40, 3), np.uint8))
    batch = GridCells(device, Grid(40, 40, 8, 8)).gather_picture(picture, none, none)
    assert device.download(batch).shape == (0, 3, 8, 8)
    grid = WindowGrid(height=40, width=40, stride=8, top=9.0, bottom=9.0, side=6)
    batch = WindowCells(device, grid).gather(picture, none, none)
    assert device.download(batch).shape == (0, 3, 6, 6)
