"""Grid geometry: where cells lie in the picture, and gathering them into one batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError


@dataclass(frozen=True)
class Grid:
    """Square cells of side `patch` at every `stride` pixels of a height x width picture.

    Cell (r, c) covers rows [r stride, r stride + patch) and the same for columns.
    """

    height: int
    width: int
    patch: int
    stride: int

    def __post_init__(self) -> None:
        if self.patch > min(self.height, self.width):
            raise UsageError(
                f"a patch of {self.patch} px does not fit into {self.width} x {self.height} px",
                mend="choose a smaller patch or a larger working size",
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return (
            (self.height - self.patch) // self.stride + 1,
            (self.width - self.patch) // self.stride + 1,
        )

    def count(self, pixels: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number of true pixels in each cell; bool height x width in, int64 rows x columns out."""
        rows, columns = self.shape
        integral = np.zeros((self.height + 1, self.width + 1), np.int64)
        np.cumsum(np.cumsum(pixels, axis=0), axis=1, out=integral[1:, 1:])
        top = np.arange(rows) * self.stride
        left = np.arange(columns) * self.stride
        low, right = top + self.patch, left + self.patch
        counts: NDArray[np.int64] = (
            integral[np.ix_(low, right)]
            - integral[np.ix_(top, right)]
            - integral[np.ix_(low, left)]
            + integral[np.ix_(top, left)]
        )
        return counts

    def gather(
        self, image: NDArray[np.generic], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.generic]:
        """Cut cells out of a picture.

        Args:
            image: height x width x channels, any dtype.
            rows: int64, N cell rows.
            columns: int64, N cell columns.

        Returns:
            N x channels x patch x patch, same dtype, a copy.
        """
        windows = np.lib.stride_tricks.sliding_window_view(
            image, (self.patch, self.patch), axis=(0, 1)
        )
        return np.ascontiguousarray(windows[rows * self.stride, columns * self.stride])
