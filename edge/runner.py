"""One stream at work: from its cells to their energies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import EnergyMap
from edge.inputs import Cells
from edge.scoring.heads import Head
from engines.backends.backend import Backend
from engines.errors import DataError
from engines.model_spec import StreamSpec


class Runner(Protocol):
    """Three steps that the pipeline calls in this order; batch and features are its own affair."""

    @property
    def spec(self) -> StreamSpec:
        """Description of the stream."""

    @property
    def backend(self) -> Backend | None:
        """Its network; None if it has none."""

    @property
    def head(self) -> Head:
        """From features on the host to energies, as the parity gate wants it."""

    @property
    def largest(self) -> int | None:
        """Most cells at once; None: any number."""

    def gather(self, cells: Sequence[Cells]) -> Any:
        """Cut the cells of one or more frames, none of them empty, into one batch."""

    def encode(self, batch: Any) -> Any:
        """A batch to features."""

    def energy(self, features: Any) -> NDArray[np.float64]:
        """Features to one energy per cell."""

    def close(self) -> None:
        """Free the network."""


@dataclass(frozen=True)
class Pictures:
    """Whole pictures for a network, and the cells that its maps will be read at.

    Attributes:
        items: float32, n x channels x side x side.
        cells: n of them, none empty.
    """

    items: NDArray[np.float32]
    cells: Sequence[Cells]


@dataclass(frozen=True)
class MapRunner:
    """One stream on the host whose network looks at whole pictures and answers with maps.

    Its answer, N x J x rows x columns on the network's grid, is read at the cells of the stream's
    grid; from there on a cell is a cell.
    """

    spec: StreamSpec
    backend: Backend
    head: Head

    @property
    def largest(self) -> int | None:
        """Any number of cells at once."""
        return None

    def gather(self, cells: Sequence[Cells]) -> Pictures:
        """One item for each frame, with its cells."""
        return Pictures(np.concatenate([one.gather() for one in cells]), cells)

    def encode(self, batch: Pictures) -> NDArray[np.float32]:
        """float32, n x J: the maps at the cells, frame after frame.

        Raises:
            DataError: The network's answer is no map of the declared grid.
        """
        maps = self.backend.infer(batch.items)
        declared = self.spec.network.map if self.spec.network is not None else None
        if declared is None or maps.shape[2:] != (declared.rows, declared.columns):
            wanted = "none" if declared is None else f"{declared.rows} x {declared.columns} cells"
            raise DataError(
                f"stream {self.spec.name}: the network answers {list(maps.shape)}, declared is a "
                f"map of {wanted}",
                mend="network and model.json must come from the same bundle",
            )
        return np.concatenate(
            [
                map_on_grid(one, cells.shape)[:, cells.rows, cells.columns].T
                for one, cells in zip(maps, batch.cells, strict=True)
            ]
        )

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64, n."""
        return self.head.energy(features)

    def close(self) -> None:
        """Free the network."""
        self.backend.close()


@dataclass(frozen=True)
class StreamRunner:
    """One stream on the host: description, network (None: features are the cells), head."""

    spec: StreamSpec
    backend: Backend | None
    head: Head

    @property
    def largest(self) -> int | None:
        """Any number of cells at once."""
        return None

    def gather(self, cells: Sequence[Cells]) -> NDArray[np.float32]:
        """float32, n x channels x side x side (or n x D)."""
        return np.concatenate([one.gather() for one in cells])

    def encode(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32, n x J."""
        return batch if self.backend is None else self.backend.infer(batch)

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64, n."""
        return self.head.energy(features)

    def close(self) -> None:
        """Free the network."""
        if self.backend is not None:
            self.backend.close()


def open_host_runner(spec: StreamSpec, backend: Backend | None, head: Head) -> Runner:
    """The runner of a stream on the host."""
    if backend is not None and spec.network is not None and spec.network.map is not None:
        return MapRunner(spec=spec, backend=backend, head=head)
    return StreamRunner(spec=spec, backend=backend, head=head)


def map_on_grid(maps: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read maps over the whole picture on another grid over the whole picture.

    Args:
        maps: float32, J x rows x columns.
        shape: (rows, columns) of the grid.

    Returns:
        float32, J x rows x columns of `shape`: the mean over a cell where the maps are finer (or as
        fine), linear between their cells' centres where they are coarser.
    """
    finer = maps.shape[1] >= shape[0] and maps.shape[2] >= shape[1]
    method = cv2.INTER_AREA if finer else cv2.INTER_LINEAR
    read = [cv2.resize(one, (shape[1], shape[0]), interpolation=method) for one in maps]
    return np.asarray(read, np.float32)


def in_pieces(cells: Sequence[Cells], largest: int | None) -> Iterator[list[Cells]]:
    """All cells in their order, in pieces of at most `largest`; nothing empty, no piece if none."""
    piece: list[Cells] = []
    room = most = largest or sum(len(one) for one in cells)
    for one in cells:
        start = 0
        while start < len(one):
            stop = min(start + room, len(one))
            piece.append(replace(one, rows=one.rows[start:stop], columns=one.columns[start:stop]))
            room -= stop - start
            start = stop
            if not room:
                yield piece
                piece, room = [], most
    if piece:
        yield piece


def energy_map(cells: Cells, values: NDArray[np.float64]) -> EnergyMap:
    """Energies of cells, float64, n, in their places on the grid; elsewhere 0 and not active."""
    energy = np.zeros(cells.shape)
    active = np.zeros(cells.shape, np.bool_)
    energy[cells.rows, cells.columns] = values
    active[cells.rows, cells.columns] = True
    return EnergyMap(energy=energy, active=active, warm_up=cells.warm_up, fresh=cells.fresh)
