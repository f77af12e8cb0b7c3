"""The few frames worth looking at: highest and lowest scores, worst false alarms, worst misses.

Only the frames on a shelf are kept in memory, so footage of any length can be walked.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.events.explain import Explanation

# Neighbouring frames look alike: of one clip, at most one frame in so many seconds is shown.
GAP_S = 5.0


@dataclass(frozen=True)
class Moment:
    """One frame that was kept, with its heat map.

    Attributes:
        clip: Name of the clip.
        index: Frame number in the clip, 0-based.
        time_s: Seconds since the clip's first frame.
        score: Frame score.
        anomalous: Ground truth of the frame, None if unknown.
        picture: uint8, height x width x 3, blue-green-red, at the bundle's working size.
        map: float32, rows x columns, the fused map of the frame.
        mask: bool, native height x width, the ground-truth pixels; None if unknown or empty.
        explanation: What drove the map's peak; None if nobody was asked.
    """

    clip: str
    index: int
    time_s: float
    score: float
    anomalous: bool | None
    picture: NDArray[np.uint8]
    map: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    explanation: Explanation | None = None


class Shelf:
    """Keeps the `size` highest (or lowest) moments, of one clip at least `gap_s` apart.

    Args:
        size: Moments kept.
        highest: True keeps high scores, False low ones. Of equal scores the earlier stays.
        gap_s: Of two moments of a clip that are closer than this, the better one stays.
    """

    def __init__(self, size: int, *, highest: bool, gap_s: float = GAP_S) -> None:
        self._size = size
        self._sign = -1.0 if highest else 1.0
        self._gap_s = gap_s
        self._moments: list[Moment] = []

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments kept, best first."""
        return tuple(self._moments)

    def offer(self, clip: str, time_s: float, score: float, make: Callable[[], Moment]) -> None:
        """Keep the moment if it is among the best; `make` is called only then."""
        if self._size < 1:
            return
        rank = self._sign * score
        if len(self._moments) == self._size and rank >= self._rank(self._moments[-1]):
            return
        near = [m for m in self._moments if m.clip == clip and abs(m.time_s - time_s) < self._gap_s]
        if any(self._rank(m) <= rank for m in near):
            return
        kept = [m for m in self._moments if all(m is not n for n in near)]
        bisect.insort_right(kept, make(), key=self._rank)
        self._moments = kept[: self._size]

    def _rank(self, moment: Moment) -> float:
        return self._sign * moment.score


@dataclass
class Gallery:
    """Four shelves: highest, lowest, highest among normal, lowest among anomalous frames."""

    size: int
    highest: Shelf = field(init=False)
    lowest: Shelf = field(init=False)
    false_alarms: Shelf = field(init=False)
    misses: Shelf = field(init=False)

    def __post_init__(self) -> None:
        self.highest = Shelf(self.size, highest=True)
        self.lowest = Shelf(self.size, highest=False)
        self.false_alarms = Shelf(self.size, highest=True)
        self.misses = Shelf(self.size, highest=False)

    def offer(
        self,
        clip: str,
        time_s: float,
        score: float,
        make: Callable[[], Moment],
        *,
        anomalous: bool | None,
        warm_up: bool,
    ) -> None:
        """Show one frame to every shelf that it may belong to.

        Frames of the warm-up are not shown to shelves of low scores: that a clip's first frame has
        no motion yet tells nothing.
        """
        shelves = [self.highest]
        if anomalous is False:
            shelves.append(self.false_alarms)
        if not warm_up:
            shelves.append(self.lowest)
        if anomalous and not warm_up:
            shelves.append(self.misses)
        for shelf in shelves:
            shelf.offer(clip, time_s, score, make)
