"""Is a new calibration less sensitive than the old one? Told cell by cell, in one unit.

Thresholds of two calibrations cannot be compared as numbers: new statistics change their unit. What
can be compared is the energy at which a cell alone reaches the threshold: E = centre + spread * z*,
where z* is the standardised energy whose value in the unit of the threshold is the threshold. The
rise of E, in the old spreads of that cell, is how much more unusual something must be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import StreamStatistics
from calibration.tail import TailModel

# A rise that matters, in spreads: of the mean over cells, and of single cells.
MEAN_RISE = 0.25
CELL_RISE = 1.0
CELL_SHARE = 0.1
_STEPS = 200


@dataclass(frozen=True)
class Change:
    """How the sensitivity of one stream has changed; rises in old spreads, above 0: less sensitive.

    Attributes:
        mean_rise: Over all cells.
        worst_rise: Of the cell with the largest.
        share_less: Share of the cells that rise by more than `CELL_RISE`.
    """

    mean_rise: float
    worst_rise: float
    share_less: float

    @property
    def less_sensitive(self) -> bool:
        """By more than single cells and small change."""
        return self.mean_rise > MEAN_RISE or self.share_less > CELL_SHARE


def compare(
    old: Mapping[str, StreamStatistics],
    old_threshold: float,
    new: Mapping[str, StreamStatistics],
    new_threshold: float,
    *,
    mode: str,
) -> dict[str, Change]:
    """The change of each stream.

    Args:
        old: Statistics by stream name.
        old_threshold: In the unit of `mode`.
        new: Likewise.
        new_threshold: Likewise.
        mode: Of the fusion: "surprise", "z" or "paper" (energies themselves).
    """
    changes = {}
    for name, before in old.items():
        rise = (
            _alarm_energy(new[name], new_threshold, mode)
            - _alarm_energy(before, old_threshold, mode)
        ) / before.cells.scale
        changes[name] = Change(
            mean_rise=float(rise.mean()),
            worst_rise=float(rise.max()),
            share_less=float((rise > CELL_RISE).mean()),
        )
    return changes


def _alarm_energy(statistics: StreamStatistics, threshold: float, mode: str) -> NDArray[np.float64]:
    """The energy of each cell at the threshold; float64, rows x columns."""
    cells = statistics.cells
    if mode == "paper":
        return np.full(cells.shape, threshold)
    z = threshold if mode == "z" else z_at(statistics.tail, threshold)
    return cells.median + cells.scale * z


def z_at(tail: TailModel, surprise: float) -> float:
    """The standardised energy with this surprise: the inverse of `TailModel.surprise`.

    The surprise rises strictly, from 0 at minus infinity to infinity.
    """

    def at(z: float) -> float:
        return float(tail.surprise(np.array([z]))[0])

    step = tail.excess.scale
    low, high = tail.smallest, tail.level
    while at(low) > surprise and step < 1e12:
        low, step = low - step, step * 2.0
    step = tail.excess.scale
    while at(high) < surprise and step < 1e12:
        high, step = high + step, step * 2.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        low, high = (middle, high) if at(middle) < surprise else (low, middle)
    return (low + high) / 2.0
