"""What an input gives: cells to be scored; and what its options may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.frames import CellBatch
from edge.vision.observe import Observed
from engines.errors import DataError
from engines.model_spec import InputSpec, Option

Cut = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Cuts the cells with these rows and columns: float32, n x channels x side x side."""


@dataclass(frozen=True)
class Cells:
    """Active cells of one frame, not cut out yet.

    Attributes:
        rows: int64, N positions on the stream's grid.
        columns: int64, N.
        shape: (rows, columns) of the grid.
        warm_up: The time window is not full.
        fresh: False if this frame was not looked at: nothing is known of it, which is not the same
            as nothing to be seen in it.
        cut: Cuts them out of the frame; `edge.gpu.cut.DeviceCut` does it on a GPU.
        whole: The network looks at the whole picture at once: `cut` gives one item, whatever the
            cells, and the network's answer is a map that is read at them.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]
    warm_up: bool
    cut: Cut
    fresh: bool = True
    whole: bool = False

    def __len__(self) -> int:
        """Number of active cells."""
        return len(self.rows)

    @property
    def items(self) -> int:
        """What the network has to look at: each active cell, or the picture where any is active."""
        return min(len(self.rows), 1) if self.whole else len(self.rows)

    def gather(self, select: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Cut out all items, or those at positions `select` (0 .. items - 1).

        Returns:
            float32, n x channels x side x side in [0, 1] (or n x D features for flat kinds).
        """
        if self.whole:
            pictures = self.cut(self.rows, self.columns)[: self.items]
            return pictures if select is None else pictures[select]
        if select is None:
            return self.cut(self.rows, self.columns)
        return self.cut(self.rows[select], self.columns[select])

    def batch(self) -> CellBatch:
        """All active cells as one batch."""
        return CellBatch(data=self.gather(), rows=self.rows, columns=self.columns, shape=self.shape)


class StreamInput(Protocol):
    """One input kind of one camera."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""

    def observe(self, observation: Observed) -> Cells:
        """Take the next observation; returns the cells to be scored."""


def channels_of(spec: InputSpec) -> int:
    """Channels of an item: one or three for each of its pictures."""
    return (1 if spec.options.get("grey") else 3) * int(spec.options.get("frames", 1))


def only_options(spec: InputSpec, defaults: dict[str, Option]) -> dict[str, Option]:
    """Options of a kind with its defaults.

    Raises:
        DataError: The kind has no such option.
    """
    unknown = sorted(set(spec.options) - set(defaults))
    if unknown:
        known = ", ".join(sorted(defaults)) or "none"
        raise DataError(
            f"input kind {spec.kind!r} has no option {', '.join(unknown)}; its options are {known}"
        )
    return {**defaults, **spec.options}


def positive(options: dict[str, Option], key: str) -> float:
    """A number above 0.

    Raises:
        DataError: It is none.
    """
    value = options[key]
    if isinstance(value, (bool, str)) or not value > 0:
        raise DataError(f"input option {key} must be a positive number, it is {value!r}")
    return float(value)


def whole(options: dict[str, Option], key: str, *, least: int = 1) -> int:
    """A whole number of `least` or more.

    Raises:
        DataError: It is none.
    """
    value = options[key]
    if isinstance(value, (bool, str)) or value != int(value) or value < least:
        raise DataError(
            f"input option {key} must be a whole number of {least} or more, it is {value!r}"
        )
    return int(value)
