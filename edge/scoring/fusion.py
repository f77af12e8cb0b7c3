"""Streams to one map and one number (Fan et al. 2018, Eq. (18), reading A11).

The weighted mean runs over the streams that have a value in the cell: where one has none, the other
counts alone; where none has, the cell is 0. With inactive cells as "zero", and for carried streams,
every cell of a stream that has looked at all has a value (for "paper" too: inactive cells take the
smallest calibration energy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import StreamStatistics
from edge.frames import StreamScore
from engines.model_spec import FusionSpec, StreamSpec

Grid = NDArray[np.float64]


def read_at(grid: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    """Read a stream's grid at the cell centres of a map of another size (nearest cell)."""
    if grid.shape == shape:
        return grid
    rows = ((np.arange(shape[0]) + 0.5) * grid.shape[0] / shape[0]).astype(np.int64)
    columns = ((np.arange(shape[1]) + 0.5) * grid.shape[1] / shape[1]).astype(np.int64)
    return grid[np.ix_(rows, columns)]


def stream_value(
    score: StreamScore,
    *,
    smoothed: bool,
    smallest: float,
    fusion: FusionSpec,
    shape: tuple[int, int],
) -> tuple[Grid, NDArray[np.bool_]]:
    """What one stream brings into the fusion.

    Args:
        score: The stream's score.
        smoothed: Its surprise is a mean over space or time, so every cell has one.
        smallest: Its smallest calibration energy, for mode "paper".
        fusion: Mode, and what an inactive cell counts.
        shape: (rows, columns) of the fused map.

    Returns:
        Value (float64) and where it has one (bool), both of `shape`.
    """
    active = score.energy.active
    if fusion.mode == "paper":
        energy = np.where(active, score.energy.energy, smallest)
        return read_at(energy, shape).astype(np.float64), np.ones(shape, np.bool_)
    value = score.surprise if fusion.mode == "surprise" else score.z
    if fusion.inactive == "zero" or smoothed:
        has_value = np.full(shape, score.known)
    else:
        has_value = read_at(active, shape).astype(np.bool_)
    return read_at(value, shape).astype(np.float64), has_value


def fuse(
    scores: Mapping[str, StreamScore],
    streams: Sequence[StreamSpec],
    statistics: Mapping[str, StreamStatistics],
    *,
    fusion: FusionSpec,
    shape: tuple[int, int],
) -> Grid:
    """Weighted mean of the streams' maps; float64, `shape`.

    Args:
        scores: Per stream name.
        streams: Weights.
        statistics: Per stream name; mode "paper" needs them.
        fusion: Mode, and what an inactive cell counts.
        shape: (rows, columns) of the fused map.
    """
    total = np.zeros(shape)
    weight = np.zeros(shape)
    for stream in streams:
        value, has_value = stream_value(
            scores[stream.name],
            smoothed=stream.carry_s > 0.0 or stream.blur_cells > 0.0,
            smallest=statistics[stream.name].smallest_energy if fusion.mode == "paper" else 0.0,
            fusion=fusion,
            shape=shape,
        )
        total += stream.weight * has_value * value
        weight += stream.weight * has_value
    return np.divide(total, weight, out=np.zeros(shape), where=weight > 0.0)


def pool(fused: Grid, spec: FusionSpec) -> tuple[NDArray[np.float32], float]:
    """Spatial maximum of the map, and the frame score: mean of the highest cells."""
    pooled = fused.astype(np.float32)
    if spec.spatial_max > 1:
        kernel = np.ones((spec.spatial_max, spec.spatial_max), np.uint8)
        pooled = np.asarray(cv2.dilate(pooled, kernel), dtype=np.float32)
    flat = fused.ravel()
    if spec.top_cells == 1:
        return pooled, float(flat.max())
    count = min(spec.top_cells, flat.size)
    return pooled, float(np.partition(flat, flat.size - count)[-count:].mean())
