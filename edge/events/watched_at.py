"""When the frames of a recording were watched. They do not say when they were taken.

Times are monotonic: only what is told is turned into wall clock, by the clock of that moment. So an
event's times fit each other, also when the wall clock has been set while it lasted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque


class WatchedAt:
    """When frames passed: those of late, and the one that an event began with.

    The length of an event does not matter: of its frames only the first and those of the last
    `keep_s` seconds of the recording are remembered.

    Args:
        keep_s: How far back the end of an event can lie.
    """

    def __init__(self, *, keep_s: float) -> None:
        self._keep_s = keep_s
        self._first: tuple[float, float] | None = None
        self._late: deque[tuple[float, float]] = deque()

    def note(self, time_s: float, now_s: float, *, hold: bool) -> None:
        """A frame was watched.

        Args:
            time_s: Its time in the recording.
            now_s: Monotonic seconds.
            hold: It belongs to an event, or may turn out to; the first of these is kept.
        """
        if not hold:
            self._first = None
        elif self._first is None:
            self._first = (time_s, now_s)
        self._late.append((time_s, now_s))
        while self._late[0][0] < time_s - self._keep_s:
            self._late.popleft()

    def at(self, time_s: float) -> float:
        """When the frame of `time_s` was watched, or the first one after it that is known."""
        if self._first is not None and time_s <= self._first[0]:
            return self._first[1]
        times = [known for known, _ in self._late]
        return self._late[min(bisect_left(times, time_s), len(times) - 1)][1]

    def release(self) -> None:
        """The event has ended; another one begins with another frame."""
        self._first = None

    def clear(self) -> None:
        """The recording has ended."""
        self._first = None
        self._late.clear()
