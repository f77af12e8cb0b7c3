"""A clock that stands still until it is turned."""

from __future__ import annotations

import datetime

from edge.clock import ClockState


class ManualClock:
    def __init__(self, start: str = "2026-07-01T21:14:00+00:00") -> None:
        self.now_s = 1000.0
        self.wall = datetime.datetime.fromisoformat(start)
        self.synced: ClockState = "synced"

    def monotonic(self) -> float:
        return self.now_s

    def utc(self) -> datetime.datetime:
        return self.wall

    def state(self) -> ClockState:
        return self.synced

    def turn(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall += datetime.timedelta(seconds=seconds)
