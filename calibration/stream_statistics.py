"""What normal energies of one stream look like: cell statistics, pooled tail, smallest value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.cell_statistics import CellStatistics
from calibration.neighbourhood import fit_neighbourhood
from calibration.tail import TailModel
from engines.errors import DataError

Pooling = Literal["cell", "neighbourhood", "picture"]

CELL_PRIOR = 200.0  # samples' worth of the values over all cells (method section 4)
WHOLE_PICTURE = 1e15  # more than any footage: no cell differs from the others
CELLS_PREFIX = "cells_"
TAIL_PREFIX = "tail_"
SMALLEST = "smallest_energy"


@dataclass(frozen=True)
class StreamStatistics:
    """Statistics of one stream.

    Attributes:
        cells: Per-cell median and scale of the energy.
        tail: Tail probability of standardised energies, pooled over cells.
        smallest_energy: Smallest normal energy: the value of inactive cells in "paper" fusion.
    """

    cells: CellStatistics
    tail: TailModel
    smallest_energy: float

    @classmethod
    def fit(
        cls,
        energies: NDArray[np.float64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        shape: tuple[int, int],
        *,
        pooling: Pooling = "cell",
    ) -> StreamStatistics:
        """Fit on energies of normal cells.

        Args:
            energies: float64, N.
            rows: int64, N rows on the stream's grid.
            columns: int64, N.
            shape: (rows, columns) of the grid.
            pooling: "cell": robust, each cell for itself; "neighbourhood": see that module;
                "picture": robust, one centre and spread for all cells.

        Raises:
            DataError: There is no energy at all: nothing moved in the footage.
        """
        if len(energies) == 0:
            raise DataError(
                "no cell was active in the calibration footage: nothing moved",
                mend="record footage in which normal things happen, or lower the gate's threshold",
            )
        if pooling == "neighbourhood":
            cells = fit_neighbourhood(energies, rows, columns, shape)
        else:
            n0 = WHOLE_PICTURE if pooling == "picture" else CELL_PRIOR
            cells = CellStatistics.fit(energies, rows, columns, shape, n0=n0)
        z = cells.standardise_at(energies, rows, columns)
        return cls(cells=cells, tail=TailModel.fit(z), smallest_energy=float(energies.min()))

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Arrays for an .npz file."""
        cells = {CELLS_PREFIX + key: value for key, value in self.cells.to_arrays().items()}
        tail = {TAIL_PREFIX + key: value for key, value in self.tail.to_arrays().items()}
        return {**cells, **tail, SMALLEST: np.float64(self.smallest_energy)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> StreamStatistics:
        """Inverse of `to_arrays`.

        Raises:
            DataError: An array is missing or has a wrong shape.
        """
        if SMALLEST not in arrays or arrays[SMALLEST].shape:
            raise DataError(f"the statistics have no {SMALLEST}", mend="export the bundle again")
        return cls(
            cells=CellStatistics.from_arrays(_strip(arrays, CELLS_PREFIX)),
            tail=TailModel.from_arrays(_strip(arrays, TAIL_PREFIX)),
            smallest_energy=float(arrays[SMALLEST].astype(np.float64)),
        )


def require_grids(
    statistics: Mapping[str, StreamStatistics],
    grids: Mapping[str, tuple[int, int]],
    *,
    where: str,
) -> None:
    """Statistics must be of these streams and of grids of these sizes (rows, columns).

    Raises:
        DataError: They are not.
    """
    mend = "make them again with this bundle"
    if set(statistics) != set(grids):
        raise DataError(
            f"there are statistics of streams {sorted(statistics)}, the networks are of "
            f"{sorted(grids)}",
            where=where,
            mend=mend,
        )
    for name, one in statistics.items():
        if one.cells.shape != grids[name]:
            raise DataError(
                f"statistics of stream {name} are for {one.cells.shape} cells, "
                f"its input has {grids[name]}",
                where=where,
                mend=mend,
            )


def _strip(
    arrays: Mapping[str, NDArray[np.generic]], prefix: str
) -> dict[str, NDArray[np.generic]]:
    return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
