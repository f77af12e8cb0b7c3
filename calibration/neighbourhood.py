"""Per-location statistics from the cells around each place, for energies that vary smoothly.

Where an energy depends on the place mostly through geometry (speed under perspective, say), the
neighbours of a cell tell as much as the cell itself: sums are blurred with a Gaussian over cells,
and shrunk to the values of the whole picture where little was seen. How wide the Gaussian is
follows from the footage: the width under which other parts of it are likeliest. Much footage makes
it narrow, little makes it wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.cell_statistics import CellStatistics

SIGMAS_CELLS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
# Weight, in samples, of the values over the whole picture.
PRIOR_SAMPLES = 20.0
# Of the variance over the whole picture; keeps a place where all was equal from exploding.
VARIANCE_FLOOR = 1e-3
_PARTS = 4

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class _Sums:
    """Number, sum and sum of squares of the energies of each cell."""

    count: Grid
    total: Grid
    square: Grid

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.count + other.count, self.total + other.total, self.square + other.square)


def fit_neighbourhood(
    energies: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shape: tuple[int, int],
    *,
    sigma_cells: float | None = None,
) -> CellStatistics:
    """Mean and standard deviation around each cell, as the centre and spread of that cell.

    Args:
        energies: float64, N >= 1, of active cells of normal frames, in order of time.
        rows: int64, N rows on the grid.
        columns: int64, N.
        shape: (rows, columns) of the grid.
        sigma_cells: Width of the Gaussian in cells; None: chosen by held-out likelihood.
    """
    parts = [
        _sums(energies[part], rows[part], columns[part], shape)
        for part in np.array_split(np.arange(len(energies)), min(_PARTS, len(energies)))
    ]
    whole = sum(parts[1:], parts[0])
    sigma = choose_sigma(parts) if sigma_cells is None else sigma_cells
    mean, variance = _moments(whole, sigma)
    count = whole.count.sum()
    mean_all = whole.total.sum() / count
    variance_all = whole.square.sum() / count - mean_all**2
    scale_all = float(np.sqrt(variance_all)) if variance_all > 0.0 else 1.0
    return CellStatistics(
        median=mean,
        scale=np.sqrt(np.maximum(variance, VARIANCE_FLOOR * scale_all**2)),
        count=whole.count.astype(np.int64),
        global_median=float(mean_all),
        global_scale=scale_all,
    )


def choose_sigma(parts: list[_Sums]) -> float:
    """The width under which each part is likeliest, given the others; ties towards the wider."""
    filled = [part for part in parts if part.count.any()]
    if len(filled) < 2:
        return SIGMAS_CELLS[-1]
    likelihood = dict.fromkeys(SIGMAS_CELLS, 0.0)
    for number, held in enumerate(filled):
        others = filled[:number] + filled[number + 1 :]
        rest = sum(others[1:], others[0])
        floor = VARIANCE_FLOOR * _variance_of_all(rest)
        for sigma in SIGMAS_CELLS:
            mean, variance = _moments(rest, sigma)
            variance = np.maximum(variance, max(floor, np.finfo(np.float64).tiny))
            residual = held.square - 2.0 * mean * held.total + mean**2 * held.count
            likelihood[sigma] -= 0.5 * float(
                (held.count * np.log(variance) + residual / variance).sum()
            )
    return max(reversed(SIGMAS_CELLS), key=lambda sigma: likelihood[sigma])


def _sums(
    energies: Grid, rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]
) -> _Sums:
    count, total, square = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    np.add.at(count, (rows, columns), 1.0)
    np.add.at(total, (rows, columns), energies)
    np.add.at(square, (rows, columns), energies**2)
    return _Sums(count, total, square)


def _moments(sums: _Sums, sigma: float) -> tuple[Grid, Grid]:
    """Mean and variance around each cell, shrunk to those of the whole picture."""
    count = sums.count.sum()
    mean_all, square_all = sums.total.sum() / count, sums.square.sum() / count
    near = _blur(sums.count, sigma) + PRIOR_SAMPLES
    mean = (_blur(sums.total, sigma) + PRIOR_SAMPLES * mean_all) / near
    square = (_blur(sums.square, sigma) + PRIOR_SAMPLES * square_all) / near
    return mean, square - mean**2


def _variance_of_all(sums: _Sums) -> float:
    count = sums.count.sum()
    return float(max(sums.square.sum() / count - (sums.total.sum() / count) ** 2, 0.0))


def _blur(values: Grid, sigma: float) -> Grid:
    blurred = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, dtype=np.float64)
