"""Windows of an object's size around the cells of a grid, enlarged or reduced to one side.

The size is a straight line in the height of the window's centre, as the ground plane gives it under
a fixed camera: what stands lower in the picture is nearer and larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError

# cv2.remap takes pictures of fewer than 32,768 rows; windows are stacked to one such picture.
_MOST_ROWS = 32_000
_SMALLEST_PX = 4.0

Maps = tuple[NDArray[np.int16], NDArray[np.uint16]]


@dataclass(frozen=True)
class WindowGrid:
    """Square windows centred on the cells of a regular grid of a height x width picture.

    Attributes:
        height: Picture height in pixels.
        width: Picture width in pixels.
        stride: Side of a cell in pixels; a window is centred on each.
        top: Side in pixels of a window centred on the upper edge of the picture.
        bottom: Likewise on the lower edge; linear in between.
        side: Side of what is cut, in pixels, whatever the window's own size.
    """

    height: int
    width: int
    stride: int
    top: float
    bottom: float
    side: int

    def __post_init__(self) -> None:
        if min(self.top, self.bottom) < _SMALLEST_PX:
            raise UsageError(
                f"windows of {min(self.top, self.bottom):g} px are too small to show anything",
                mend=f"choose {_SMALLEST_PX:g} px or more at the top and at the bottom",
            )
        if self.stride > min(self.height, self.width):
            raise UsageError(
                f"cells of {self.stride} px do not fit into {self.width} x {self.height} px",
                mend="choose smaller cells or a larger working size",
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self.height // self.stride, self.width // self.stride

    def size(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Side in pixels of the windows of these grid rows."""
        centre = (rows + 0.5) * self.stride
        return np.asarray(self.top + (self.bottom - self.top) * centre / self.height)

    def gather(
        self, image: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Cut windows out of a picture, bilinear; beyond its edge the border pixel is repeated.

        Args:
            image: uint8, height x width (x channels).
            rows: int64, N grid rows.
            columns: int64, N grid columns.

        Returns:
            uint8, N x side x side (x channels).
        """
        depth = image.shape[2:]
        if not len(rows):
            return np.zeros((0, self.side, self.side, *depth), np.uint8)
        whole, part = _maps(self)
        cells = rows * self.shape[1] + columns
        pieces = []
        step = max(1, _MOST_ROWS // self.side)
        for start in range(0, len(cells), step):
            some = cells[start : start + step]
            cut = cv2.remap(
                image,
                whole[some].reshape(-1, self.side, 2),
                part[some].reshape(-1, self.side),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            pieces.append(cut.reshape(len(some), self.side, self.side, *depth))
        return np.asarray(np.concatenate(pieces), dtype=np.uint8)


@lru_cache(maxsize=8)
def _maps(grid: WindowGrid) -> Maps:
    """Where each pixel of each window comes from, in OpenCV's fixed-point form; grid cells first.

    Cameras of one geometry share them: they are the largest thing a window input keeps.
    """
    rows, columns = grid.shape
    size = grid.size(np.arange(rows))
    # Pixel centres of a window of unit size around 0.
    unit = (np.arange(grid.side) + 0.5) / grid.side - 0.5
    x_centre = (np.arange(columns) + 0.5) * grid.stride
    y_centre = (np.arange(rows) + 0.5) * grid.stride
    x = x_centre[None, :, None] + size[:, None, None] * unit - 0.5
    y = y_centre[:, None] + size[:, None] * unit - 0.5
    full = (rows, columns, grid.side, grid.side)
    x_map = np.broadcast_to(x[:, :, None, :], full).astype(np.float32)
    y_map = np.broadcast_to(y[:, None, :, None], full).astype(np.float32)
    whole = np.empty((*full, 2), np.int16)
    part = np.empty(full, np.uint16)
    for row in range(rows):
        flat = (-1, grid.side)
        one, two = cv2.convertMaps(x_map[row].reshape(flat), y_map[row].reshape(flat), cv2.CV_16SC2)
        whole[row] = one.reshape(columns, grid.side, grid.side, 2)
        part[row] = two.reshape(columns, grid.side, grid.side)
    return whole.reshape(-1, grid.side, grid.side, 2), part.reshape(-1, grid.side, grid.side)
