"""What is kept of the footage: energies within a bound of memory, and the highest moments."""

from __future__ import annotations

import datetime
import heapq
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import EnergyMap, Frame

MOST_SAMPLES = 4_000_000
MOMENTS = 8
MOMENT_APART_S = 10.0
_PICTURE_WIDTH = 640


class EnergySamples:
    """Energies of active cells of one stream, in order of time, in bounded memory.

    When they are too many every second frame is left out, and from then on only every second one
    is taken: neighbouring frames show the same, and every cell keeps its share.

    Args:
        most: Samples that are kept at most.
    """

    def __init__(self, most: int = MOST_SAMPLES) -> None:
        self._most = most
        self._every = 1
        self._number = 0
        self._frames: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]] = []
        self._count = 0

    def add(self, energy: EnergyMap) -> None:
        """Take the newest frame's; one that was not looked at does not count as a frame."""
        if not energy.fresh:
            return
        self._number += 1
        if (self._number - 1) % self._every:
            return
        rows, columns = np.nonzero(energy.active)
        self._frames.append((energy.energy[rows, columns], rows, columns))
        self._count += len(rows)
        while self._count > self._most and len(self._frames) > 1:
            self._frames = self._frames[::2]
            self._every *= 2
            self._count = sum(len(one[0]) for one in self._frames)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Energies, rows and columns, N each."""
        empty = (np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
        energies, rows, columns = zip(empty, *self._frames, strict=True)
        return np.concatenate(energies), np.concatenate(rows), np.concatenate(columns)


@dataclass(order=True)
class Moment:
    """A high moment of the footage, for a person to look at.

    Attributes:
        score: Its score.
        time_s: Source time.
        at: Wall clock, if the source has one.
        picture: Small picture, uint8, height x width x 3.
    """

    score: float
    time_s: float = field(compare=False)
    at: datetime.datetime | None = field(compare=False)
    picture: NDArray[np.uint8] = field(compare=False)


class Moments:
    """The highest moments, at least `MOMENT_APART_S` from each other."""

    def __init__(self) -> None:
        self._kept: list[Moment] = []

    def offer(self, frame: Frame, score: float) -> None:
        """The newest frame; times never fall."""
        if len(self._kept) >= MOMENTS and score <= self._kept[0].score:
            return
        near = next((m for m in self._kept if frame.time_s - m.time_s < MOMENT_APART_S), None)
        if near is not None:
            if score <= near.score:
                return
            self._kept.remove(near)
        self._kept.append(Moment(score, frame.time_s, frame.captured_at, _small(frame.bgr)))
        heapq.heapify(self._kept)
        if len(self._kept) > MOMENTS:
            heapq.heappop(self._kept)

    def highest_first(self) -> list[Moment]:
        """All of them."""
        return sorted(self._kept, reverse=True)


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if width <= _PICTURE_WIDTH:
        return np.array(picture, np.uint8)
    size = (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width))
    return np.array(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
