"""Streams to one map and one number (Fan et al. 2018, Eq. (18), reading A11).

The weighted mean runs over the streams that have a value in the cell: where one has none, the other
counts alone; where none has, the cell is 0 (for "paper": every stream has a value, inactive cells
take the smallest calibration energy).
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


def fuse(
    scores: Mapping[str, StreamScore],
    streams: Sequence[StreamSpec],
    statistics: Mapping[str, StreamStatistics],
    *,
    mode: str,
    shape: tuple[int, int],
) -> Grid:
    """Weighted mean of the streams' maps; float64, `shape`.

    Args:
        scores: Per stream name.
        streams: Weights.
        statistics: Per stream name; used by mode "paper".
        mode: "surprise", "z" or "paper".
        shape: (rows, columns) of the fused map.
    """
    total = np.zeros(shape)
    weight = np.zeros(shape)
    for stream in streams:
        score = scores[stream.name]
        if mode == "paper":
            smallest = statistics[stream.name].smallest_energy
            value = np.where(score.energy.active, score.energy.energy, smallest)
            has_value = np.ones(shape)
        else:
            value = score.surprise if mode == "surprise" else score.z
            has_value = read_at(score.energy.active, shape).astype(np.float64)
        total += stream.weight * has_value * read_at(value, shape).astype(np.float64)
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
