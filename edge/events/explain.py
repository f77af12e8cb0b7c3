"""What a score map says, for people: where it peaks, which stream drove it, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.stream_statistics import StreamStatistics
from edge.events.event import Cell
from edge.events.footage import moving_samples, samples_around
from edge.events.words import (
    ELSEWHERE,
    HERE,
    movement_in_words,
    phrases_of,
    place_in_words,
    rarity,
)
from edge.frames import ScoreMap
from edge.scoring.fusion import fuse, read_at
from engines.bundle import Bundle
from engines.model_spec import FusionSpec, StreamSpec

MAX_CELLS = 16
NOTHING = "nothing stands out in this frame"
# About one passer-by: fewer samples in and around a cell are worth a word.
LITTLE_FOOTAGE = 30
# A second stream is worth a word when it is rarer than one in a hundred on its own.
_ALSO_NOTABLE = 2.0


@dataclass(frozen=True)
class Explanation:
    """Why a map is as high as it is.

    Attributes:
        stream: The stream with the largest share in the peak; None if nothing stands out.
        where: The peak's place in the picture, in words.
        why: All of it in words.
        peak: The cell that caused the peak.
        cells: Highest cells above the threshold, see `top_cells`.
        streams: Each stream's largest surprise where the map peaks, largest share first.
    """

    stream: str | None
    where: str
    why: str
    peak: Cell
    cells: tuple[Cell, ...]
    streams: Mapping[str, float]


class Explainer:
    """Puts score maps into words. Holds no state of any camera.

    Args:
        streams: Kinds and weights.
        fusion: How the map was made of the streams.
        statistics: Of each stream, by name: what was seen where.
    """

    def __init__(
        self,
        streams: Sequence[StreamSpec],
        fusion: FusionSpec,
        statistics: Mapping[str, StreamStatistics],
    ) -> None:
        self._streams = {stream.name: stream for stream in streams}
        self._fusion = fusion
        self._statistics = statistics
        self._phrases = {one.name: phrases_of(one.input.kind, one.name) for one in streams}
        self._moving = [moving_samples(statistics[one.name].cells.count) for one in streams]

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Explainer:
        """For what the streams of a bundle see.

        Raises:
            DataError: Its statistics cannot be read.
        """
        statistics = {
            stream.name: StreamStatistics.from_arrays(bundle.arrays(stream.statistics))
            for stream in bundle.model.streams
        }
        return cls(bundle.model.streams, bundle.model.fusion, statistics)

    def explain(self, scored: ScoreMap, threshold: float = math.inf) -> Explanation:
        """Explain one frame.

        Args:
            scored: Its scores, of the same streams.
            threshold: Cells above it are listed; the highest is in any case.
        """
        row, column = self._peak(scored)
        peak = _cell(scored, row, column)
        x, y = peak.x + peak.w / 2, peak.y + peak.h / 2
        surprise = self._ranked(scored, row, column)
        where = place_in_words(x, y)
        named = [name for name in surprise if self._weight(name) * surprise[name] > 0.0]
        why = NOTHING
        if named:
            named = [named[0], *(one for one in named[1:] if surprise[one] >= _ALSO_NOTABLE)]
            why = f"{where}: {self._sentence(named, surprise, samples_around(self._moving, x, y))}"
        return Explanation(
            stream=named[0] if named else None,
            where=where,
            why=why,
            peak=peak,
            cells=top_cells(scored, threshold),
            streams=surprise,
        )

    def _peak(self, scored: ScoreMap) -> tuple[int, int]:
        """The cell that caused the peak: a maximum filter makes a plateau around it."""
        fused = fuse(
            scored.streams,
            tuple(self._streams.values()),
            self._statistics,
            fusion=self._fusion,
            shape=(scored.map.shape[0], scored.map.shape[1]),
        )
        plateau = np.where(scored.map >= scored.map.max(), fused, -np.inf)
        row, column = divmod(int(plateau.argmax()), scored.map.shape[1])
        return row, column

    def _ranked(self, scored: ScoreMap, row: int, column: int) -> dict[str, float]:
        """Each stream's surprise on the plateau, the largest share in its cause first.

        A share is weight times surprise, in any fusion mode: only that compares streams. Streams
        that saw nothing in the very cell follow by what they saw around it.
        """
        plateau = scored.map >= scored.map.max()
        grids = {
            name: read_at(scored.streams[name].surprise, plateau.shape) for name in self._streams
        }
        around = {name: float(grid[plateau].max()) for name, grid in grids.items()}

        def share(name: str) -> tuple[float, float]:
            weight = self._weight(name)
            return weight * float(grids[name][row, column]), weight * around[name]

        return {name: around[name] for name in sorted(grids, key=share, reverse=True)}

    def _weight(self, name: str) -> float:
        return self._streams[name].weight

    def _sentence(
        self, named: Sequence[str], surprise: Mapping[str, float], samples: int | None
    ) -> str:
        # A cell without samples has the values of the whole picture.
        place = ELSEWHERE if samples == 0 else HERE
        phrases = [self._phrases[name] for name in named]
        parts = [movement_in_words(samples, LITTLE_FOOTAGE)]
        for name, phrase in zip(named, phrases, strict=True):
            count = self._statistics[name].tail.count
            words = rarity(phrase, surprise[name], samples=count, place=place)
            # Two streams of the same kind would say the same.
            parts.append(f"{words} ({name})" if phrases.count(phrase) > 1 else words)
        return "; ".join(part for part in parts if part)


def top_cells(scored: ScoreMap, threshold: float) -> tuple[Cell, ...]:
    """The highest cells above `threshold`, at most 16, highest first; at least the highest one."""
    columns = scored.map.shape[1]
    order = np.argsort(-scored.map, axis=None, kind="stable")[:MAX_CELLS]
    cells: list[Cell] = []
    for flat in order:
        cell = _cell(scored, *divmod(int(flat), columns))
        if cells and cell.score <= threshold:
            break
        cells.append(cell)
    return tuple(cells)


def _cell(scored: ScoreMap, row: int, column: int) -> Cell:
    rows, columns = scored.map.shape
    score = float(scored.map[row, column])
    return Cell(column / columns, row / rows, 1 / columns, 1 / rows, score)
