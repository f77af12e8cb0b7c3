"""What a score map says, for people: where it peaks, which stream drove it, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge.events.event import Cell
from edge.frames import ScoreMap
from edge.scoring.fusion import read_at

MAX_CELLS = 16
# Beyond one in a million the tail is an extrapolation whatever the footage was; say no number.
_LAST_NUMBER = 1_000_000
# A second stream is worth a word when it is rarer than one in a hundred on its own.
_ALSO_NOTABLE = 2.0


def top_cells(scored: ScoreMap, threshold: float) -> tuple[Cell, ...]:
    """The highest cells above `threshold`, at most 16, highest first; at least the highest one."""
    rows, columns = scored.map.shape
    order = np.argsort(-scored.map, axis=None, kind="stable")[:MAX_CELLS]
    cells: list[Cell] = []
    for flat in order:
        row, column = divmod(int(flat), columns)
        score = float(scored.map[row, column])
        if cells and score <= threshold:
            break
        cells.append(Cell(column / columns, row / rows, 1 / columns, 1 / rows, score))
    return tuple(cells)


def streams_at_peak(scored: ScoreMap) -> dict[str, float]:
    """Each stream's largest surprise among the cells where the fused map peaks.

    A spatial maximum filter makes the peak a plateau; the cell that caused it lies on it.
    """
    peak: NDArray[np.bool_] = scored.map >= scored.map.max()
    return {
        name: float(read_at(stream.surprise, scored.map.shape)[peak].max(initial=0.0))
        for name, stream in scored.streams.items()
    }


def why(streams: Mapping[str, float], weights: Mapping[str, float]) -> str:
    """Name the stream that drove a peak, in words.

    Args:
        streams: Surprise (-log10 of the tail probability) of each stream at the peak.
        weights: Each stream's share in the fusion.

    Returns:
        Such as ``motion: rarer than 1 in 5,000 cells seen here``.
    """
    ranked = sorted(streams, key=lambda name: -streams[name] * weights.get(name, 1.0))
    if not ranked or streams[ranked[0]] <= 0.0:
        return "the score stayed high although nothing stands out in the newest frame"
    first = ranked[0]
    parts = [f"{first}: {rarity(streams[first])}"]
    parts += [
        f"{name}: {rarity(streams[name])}" for name in ranked[1:] if streams[name] >= _ALSO_NOTABLE
    ]
    return "; ".join(parts)


def rarity(surprise: float) -> str:
    """A tail probability 10**-surprise in words, rounded towards the commoner."""
    if surprise >= np.log10(_LAST_NUMBER):
        return f"beyond anything seen here (rarer than 1 in {_LAST_NUMBER:,} cells)"
    odds = _round_down(10.0**surprise)
    if odds < 10:
        return "a little unusual here"
    return f"rarer than 1 in {odds:,} cells seen here"


def _round_down(value: float) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above `value`."""
    # The hair's breadth makes 10**log10(5000) count as 5000.
    exponent = int(np.floor(np.log10(value) + 1e-9))
    step = int(10**exponent)
    leading = value / step + 1e-6
    return step * (5 if leading >= 5 else 2 if leading >= 2 else 1)
