"""Per-location statistics from the cells around each place, for energies that vary smoothly.

Where an energy depends on the place mostly through geometry (speed under perspective, say), the
neighbours of a cell tell as much as the cell itself: sums are blurred with a Gaussian over cells,
and shrunk to the values of the whole picture where little was seen.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.cell_statistics import CellStatistics

SIGMA_CELLS = 4.0
# Weight, in samples, of the values over the whole picture.
PRIOR_SAMPLES = 20.0
# Of the variance over the whole picture; keeps a place where all was equal from exploding.
VARIANCE_FLOOR = 1e-3


def fit_neighbourhood(
    energies: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shape: tuple[int, int],
) -> CellStatistics:
    """Mean and standard deviation around each cell, as the centre and spread of that cell.

    Args:
        energies: float64, N >= 1, of active cells of normal frames.
        rows: int64, N rows on the grid.
        columns: int64, N.
        shape: (rows, columns) of the grid.
    """
    mean_all, square_all = float(energies.mean()), float((energies**2).mean())
    count, total, square = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    np.add.at(count, (rows, columns), 1.0)
    np.add.at(total, (rows, columns), energies)
    np.add.at(square, (rows, columns), energies**2)
    near = _blur(count) + PRIOR_SAMPLES
    mean = (_blur(total) + PRIOR_SAMPLES * mean_all) / near
    variance = (_blur(square) + PRIOR_SAMPLES * square_all) / near - mean**2
    whole = max(square_all - mean_all**2, 1e-12)
    return CellStatistics(
        median=mean,
        scale=np.sqrt(np.maximum(variance, VARIANCE_FLOOR * whole)),
        count=count.astype(np.int64),
        global_median=mean_all,
        global_scale=float(np.sqrt(whole)),
    )


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    blurred = cv2.GaussianBlur(image, (0, 0), SIGMA_CELLS, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, dtype=np.float64)
