"""The motion gate: only cells in which something moved are encoded, in training and in test.

The paper drops static patches in training but scores all of them at test, where the static
background is then out of distribution (reading A16); the same rule at both ends mends that.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.patches import Grid


def moved_pixels(
    previous: NDArray[np.uint8], current: NDArray[np.uint8], threshold: int
) -> NDArray[np.bool_]:
    """Pixels whose grey value changed by more than `threshold` (of 255); bool, height x width."""
    return np.asarray(cv2.absdiff(previous, current) > threshold, dtype=np.bool_)


class CellGate:
    """Which cells are active: moved in the newest frame, or in any of the last `memory` frames.

    Args:
        grid: The cells.
        min_pixels: Moved pixels that make a cell active.
        memory: Frames that a cell stays active after it moved; 1 is the newest frame alone.
        enabled: With False every cell is always active.
    """

    def __init__(self, grid: Grid, *, min_pixels: int, memory: int, enabled: bool = True) -> None:
        self._grid = grid
        self._min_pixels = min_pixels
        self._memory = memory
        self._enabled = enabled
        self._remaining = np.zeros(grid.shape, np.int64)

    def reset(self) -> None:
        """Forget what moved (cut, reconnect, new clip)."""
        self._remaining[:] = 0

    def update(self, moved: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take the moved pixels of the newest frame; returns active cells, bool rows x columns."""
        return self.update_counts(lambda: self._grid.count(moved))

    def update_counts(self, count: Callable[[], NDArray[np.int64]]) -> NDArray[np.bool_]:
        """The same from the number of moved pixels of each cell, counted only if it matters."""
        if not self._enabled:
            return np.ones(self._grid.shape, np.bool_)
        np.maximum(self._remaining - 1, 0, out=self._remaining)
        self._remaining[count() >= self._min_pixels] = self._memory
        return self._remaining > 0
