"""What the daemon's threads have told and the page's thread has not taken yet; nobody waits here.

Of pictures only the newest counts, of scores the largest since they were last taken; so the
memory stays the same however seldom they are taken.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.page.wire import Message

_MESSAGES = 1000


@dataclass(frozen=True)
class Sight:
    """The newest scored frame of a camera.

    Attributes:
        number: Rises with each.
        at_ms: Wall clock, milliseconds since the epoch.
        bgr: uint8, height x width x 3.
        map: float32, rows x columns.
    """

    number: int
    at_ms: int
    bgr: NDArray[np.uint8]
    map: NDArray[np.float32]


@dataclass
class Tally:
    """Scores of a camera since they were last taken."""

    count: int = 0
    peak: float = 0.0
    at_ms: int = 0

    def add(self, score: float, at_ms: int) -> None:
        """One more."""
        self.peak = max(self.peak, score) if self.count else score
        self.count += 1
        self.at_ms = at_ms


class Inbox:
    """Filled by the daemon, emptied by the page's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._full = threading.Event()
        self._messages: deque[Message] = deque(maxlen=_MESSAGES)
        self._tallies: dict[str, Tally] = {}
        self._sights: dict[str, Sight] = {}
        self._number = 0

    def put(self, message: Message, *, soon: bool = False) -> None:
        """Leave a message; `soon`: it is worth waking for."""
        with self._lock:
            self._messages.append(message)
        if soon:
            self._full.set()

    def see(
        self,
        camera: str,
        score: float,
        *,
        at_ms: int,
        bgr: NDArray[np.uint8],
        score_map: NDArray[np.float32],
    ) -> None:
        """Leave a scored frame."""
        with self._lock:
            self._number += 1
            self._tallies.setdefault(camera, Tally()).add(score, at_ms)
            self._sights[camera] = Sight(self._number, at_ms, bgr, score_map)

    def forget_others(self, cameras: set[str]) -> None:
        """Keep nothing of other cameras than these."""
        with self._lock:
            for known in (self._tallies, self._sights):
                for name in known.keys() - cameras:
                    known.pop(name)

    def wake(self) -> None:
        """End the wait."""
        self._full.set()

    def wait(self, timeout_s: float) -> None:
        """Until something is worth it."""
        self._full.wait(timeout_s)
        self._full.clear()

    def messages(self) -> list[Message]:
        """Take the messages, oldest first."""
        with self._lock:
            taken = list(self._messages)
            self._messages.clear()
        return taken

    def tallies(self) -> dict[str, Tally]:
        """Take the scores."""
        with self._lock:
            taken, self._tallies = self._tallies, {}
        return taken

    def sights(self) -> dict[str, Sight]:
        """The newest frame of each camera; they stay."""
        with self._lock:
            return dict(self._sights)
