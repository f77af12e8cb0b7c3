"""Counting and gathering cells on a GPU: twins of `edge.vision.patches` and `windows`.

What comes out is the engine's input, float32 N x channels x side x side in [0, 1], and stays on
the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.cuda.device import THREADS, Buffer, Device, blocks
from edge.vision.patches import Grid
from edge.vision.windows import WindowGrid
from engines.errors import DataError

UNIT = float(np.float32(1.0 / 255.0))
_WARP = 32
# Positions of cv2.remap are whole 1/32 px.
_PARTS = 32


class GridCells:
    """Regular square cells of pictures and fields.

    Args:
        device: The GPU.
        grid: Their geometry.
    """

    def __init__(self, device: Device, grid: Grid) -> None:
        self._device = device
        self._grid = grid
        self._counts = device.empty(grid.shape, np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def count(self, moved: Buffer) -> NDArray[np.int64]:
        """Number of non-zero pixels in each cell; uint8 height x width in, int64 out."""
        rows, columns = self.shape
        self._device.launch(
            "count_cells", blocks(rows * columns * _WARP), THREADS,
            moved, self._counts, self._grid.width, rows, columns,
            self._grid.patch, self._grid.stride,
        )  # fmt: skip
        return self._device.download(self._counts).astype(np.int64)

    def gather_picture(
        self,
        bgr: Buffer,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        into: Buffer | None = None,
    ) -> Buffer:
        """Cells of a picture (uint8, height x width x 3, BGR) as RGB in [0, 1].

        Raises:
            DataError: `into` has another shape.
        """
        return self._gather("gather_picture", bgr, rows, columns, into, UNIT)

    def gather_motion(
        self,
        field: Buffer,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        into: Buffer | None = None,
        *,
        scale: float,
    ) -> Buffer:
        """Cells of a motion field (float32, height x width x 3) in [0, 1]; S = `scale` is 1.

        Raises:
            DataError: `into` has another shape.
        """
        return self._gather("gather_motion", field, rows, columns, into, 0.5 / scale, 1.0 / scale)

    def _gather(
        self,
        kernel: str,
        image: Buffer,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        into: Buffer | None,
        *scales: float,
    ) -> Buffer:
        patch = self._grid.patch
        batch = _batch(self._device, (len(rows), 3, patch, patch), into)
        if len(rows):
            self._device.launch(
                kernel, blocks(batch.size), THREADS,
                image, _positions(self._device, rows, columns), batch, len(rows),
                self._grid.width, patch, self._grid.stride, *scales,
            )  # fmt: skip
        return batch


class WindowCells:
    """Windows of an object's size around the cells of a grid, scaled to one side.

    Args:
        device: The GPU.
        grid: Their geometry.
    """

    def __init__(self, device: Device, grid: WindowGrid) -> None:
        self._device = device
        self._grid = grid
        rows, columns = grid.shape
        size = grid.size(np.arange(rows))[:, None]
        unit = (np.arange(grid.side) + 0.5) / grid.side - 0.5
        y = (np.arange(rows)[:, None] + 0.5) * grid.stride + size * unit - 0.5
        x_centre = (np.arange(columns) + 0.5) * grid.stride
        x = x_centre[None, :, None] + (size * unit)[:, None] - 0.5
        self._x, self._y = (device.upload(_fixed(axis)) for axis in (x, y))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def gather(
        self,
        picture: Buffer,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        into: Buffer | None = None,
    ) -> Buffer:
        """Cut windows out of a picture.

        Args:
            picture: uint8, height x width (grey) or height x width x 3 (BGR).
            rows: int64, N grid rows.
            columns: int64, N grid columns.
            into: Where they go, of the shape that is returned; None: new memory.

        Returns:
            float32, N x channels x side x side in [0, 1]; three channels are RGB.

        Raises:
            DataError: `into` has another shape.
        """
        channels = picture.shape[2] if len(picture.shape) == 3 else 1
        side = self._grid.side
        batch = _batch(self._device, (len(rows), channels, side, side), into)
        if len(rows):
            self._device.launch(
                "gather_windows", blocks(batch.size), THREADS,
                picture, _positions(self._device, rows, columns), self._x, self._y, batch,
                len(rows), self._grid.height, self._grid.width, channels,
                self._grid.shape[1], side, UNIT,
            )  # fmt: skip
        return batch


def _batch(device: Device, shape: tuple[int, ...], into: Buffer | None) -> Buffer:
    if into is None:
        return device.empty(shape, np.float32)
    if into.shape != shape or into.dtype != np.float32:
        raise DataError(
            f"the network wants N x {list(into.shape[1:])}, the stream cuts N x {list(shape[1:])}",
            mend="bundle and plan belong to different models: vigil engine build BUNDLE",
        )
    return into


def _positions(device: Device, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Buffer:
    return device.upload(np.stack([rows, columns], axis=1).astype(np.int32))


def _fixed(positions: NDArray[np.float64]) -> NDArray[np.int32]:
    """Whole 1/32 px, rounded as cv2.convertMaps does: float32 first, halves to even."""
    whole: NDArray[np.int32] = np.rint(positions.astype(np.float32) * np.float32(_PARTS)).astype(
        np.int32
    )
    return whole
