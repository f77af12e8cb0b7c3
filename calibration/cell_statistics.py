"""Per-cell standardisation of energies: robust centre and spread, shrunk towards all cells.

Method section 4: m = median, s = 1.4826 * median absolute deviation (equal to the standard
deviation for a Gaussian), both shrunk with n0 = 200 samples' worth of the values over all cells,
the spread in logarithms. z = (E - m) / s is in robust standard deviations of that cell.

Degenerate footage gives a defined answer: a cell without samples has the global values; where more
than half of all samples are equal the global spread is the mean absolute deviation (scaled alike);
where all are equal it is 1, one unit of the energy itself, because no spread can be measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

MAD_TO_SIGMA = 1.4826  # 1 / inverse normal cdf of 3/4
MEAN_DEVIATION_TO_SIGMA = 1.2533141373155003  # sqrt(pi / 2)
SCALE_FLOOR = 1e-3  # of the global spread, so that a cell of equal samples does not explode


@dataclass(frozen=True)
class CellStatistics:
    """Centre and spread of normal energies for each cell of a stream's grid.

    Attributes:
        median: float64, rows x columns, shrunk centre in energy units.
        scale: float64, rows x columns, shrunk spread in energy units, positive.
        count: int64, rows x columns: samples behind each cell.
        global_median: Centre over all cells, the value of cells without samples.
        global_scale: Spread over all cells, positive, likewise.
    """

    median: NDArray[np.float64]
    scale: NDArray[np.float64]
    count: NDArray[np.int64]
    global_median: float
    global_scale: float

    @classmethod
    def fit(
        cls,
        energies: NDArray[np.float64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        shape: tuple[int, int],
        n0: float = 200.0,
    ) -> CellStatistics:
        """Fit to active cells of held-out normal frames.

        Args:
            energies: N energies.
            rows: Grid row of each, N.
            columns: Grid column of each, N.
            shape: Rows and columns of the grid.
            n0: How many samples the global values count for in each cell; 0 turns shrinkage off
                where a cell has samples.

        Raises:
            DataError: No samples, unequal lengths, energies that are not finite, or cells outside
                the grid.
        """
        energies = np.asarray(energies, dtype=np.float64)
        cell = _cell_numbers(energies, rows, columns, shape)
        if n0 < 0:
            raise DataError(f"n0 is a number of samples, found {n0}")
        global_median = float(np.median(energies))
        global_scale = _global_scale(energies - global_median)
        cells = shape[0] * shape[1]
        count = np.bincount(cell, minlength=cells).astype(np.int64)
        middle = _grouped_median(energies, cell, count, fill=global_median)
        deviation = _grouped_median(np.abs(energies - middle[cell]), cell, count, fill=0.0)
        spread = np.maximum(MAD_TO_SIGMA * deviation, SCALE_FLOOR * global_scale)
        # A cell without samples keeps the global values also with n0 = 0.
        share = np.divide(count, count + n0, out=np.zeros(cells), where=count > 0)
        median = share * middle + (1.0 - share) * global_median
        scale = np.exp(share * np.log(spread) + (1.0 - share) * np.log(global_scale))
        return cls(
            median=median.reshape(shape),
            scale=scale.reshape(shape),
            count=count.reshape(shape),
            global_median=global_median,
            global_scale=global_scale,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        rows, columns = self.median.shape
        return rows, columns

    def standardise(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardise a map: float64, ... x rows x columns in and out, in robust deviations.

        Raises:
            DataError: The map's size is not the grid's.
        """
        if energy.shape[-2:] != self.shape:
            raise DataError(
                f"the energy map has {energy.shape[-2:]} cells, the statistics {self.shape}",
                mend="statistics and network must come from the same bundle",
            )
        return (energy - self.median) / self.scale

    def standardise_at(
        self,
        energies: NDArray[np.float64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Standardise a list of N cells; float64, N."""
        return (energies - self.median[rows, columns]) / self.scale[rows, columns]

    def to_arrays(self) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        """The arrays of the statistics file."""
        return {
            "median": self.median,
            "scale": self.scale,
            "count": self.count,
            "whole": np.array([self.global_median, self.global_scale]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> CellStatistics:
        """Read what `to_arrays` wrote; other names are ignored.

        Raises:
            DataError: A name is missing, shapes differ, or a value is not finite or not positive.
        """
        names = ("median", "scale", "count", "whole")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise DataError(f"cell statistics lack {missing}", mend="calibrate the bundle again")
        median = np.asarray(arrays["median"], dtype=np.float64)
        scale = np.asarray(arrays["scale"], dtype=np.float64)
        count = np.asarray(arrays["count"], dtype=np.int64)
        whole = np.asarray(arrays["whole"], dtype=np.float64)
        same = median.ndim == 2 and median.shape == scale.shape == count.shape
        if not same or whole.shape != (2,):
            raise DataError(
                f"cell statistics have shapes {median.shape}, {scale.shape}, {count.shape} and "
                f"{whole.shape}; expected three equal grids and 2 values",
                mend="calibrate the bundle again",
            )
        finite = all(np.isfinite(array).all() for array in (median, scale, whole))
        if not finite or (scale <= 0).any() or (count < 0).any() or whole[1] <= 0:
            raise DataError(
                "cell statistics hold values that are not finite, spreads that are not positive "
                "or negative counts",
                mend="calibrate the bundle again",
            )
        return cls(median, scale, count, float(whole[0]), float(whole[1]))


def _cell_numbers(
    energies: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """Check the samples; number of each one's cell, row by row."""
    if energies.ndim != 1 or energies.shape != rows.shape or energies.shape != columns.shape:
        raise DataError(
            f"cell statistics need three equal lists, found {energies.shape} energies, "
            f"{rows.shape} rows and {columns.shape} columns"
        )
    if not energies.size:
        raise DataError(
            "cell statistics need normal footage with motion; no cell was active in it",
            mend="use footage in which normal things move, or turn the gate off",
        )
    bad = int(np.count_nonzero(~np.isfinite(energies)))
    if bad:
        raise DataError(f"{bad} of {energies.size} energies are not finite numbers")
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    if not inside.all():
        first = int(np.flatnonzero(~inside)[0])
        raise DataError(
            f"cell ({rows[first]}, {columns[first]}) lies outside the grid of "
            f"{shape[0]} x {shape[1]} cells"
        )
    return np.asarray(rows, dtype=np.int64) * shape[1] + columns


def _global_scale(deviations: NDArray[np.float64]) -> float:
    size = np.abs(deviations)
    scale = MAD_TO_SIGMA * float(np.median(size))
    if scale <= 0.0:
        scale = MEAN_DEVIATION_TO_SIGMA * float(size.mean())
    return scale if scale > 0.0 else 1.0


def _grouped_median(
    values: NDArray[np.float64],
    cell: NDArray[np.int64],
    count: NDArray[np.int64],
    fill: float,
) -> NDArray[np.float64]:
    """Median of the values of each cell; `fill` where there are none."""
    ordered = values[np.lexsort((values, cell))]
    start = np.cumsum(count) - count
    has = count > 0
    medians = np.full(count.shape, fill)
    low = ordered[start[has] + (count[has] - 1) // 2]
    high = ordered[start[has] + count[has] // 2]
    medians[has] = low + (high - low) / 2.0
    return medians
