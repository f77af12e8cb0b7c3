"""The common beat of live cameras: so their frames come in one batch, and at the model's rate."""

from __future__ import annotations

from edge.clock import Clock


class Ticker:
    """Says when live cameras are asked for a frame. A tick that is missed is skipped and counted.

    Args:
        rate: Ticks per second; None: always due, cameras are taken as they come.
        clock: Time.
    """

    def __init__(self, rate: float | None, *, clock: Clock) -> None:
        self._period_s = None if rate is None else 1.0 / rate
        self._clock = clock
        self._next_s: float | None = None  # the first call is the first tick
        self.skipped = 0

    def due_s(self) -> float | None:
        """Seconds until the next tick, 0 if it is due; None: there is no beat."""
        if self._period_s is None:
            return None
        return 0.0 if self._next_s is None else max(0.0, self._next_s - self._clock.monotonic())

    def take(self) -> bool:
        """Whether a tick is due; if so, go on to the next."""
        if self._period_s is None:
            return True
        now_s = self._clock.monotonic()
        if self._next_s is None:
            self._next_s = now_s
        late_s = now_s - self._next_s
        if late_s < 0.0:
            return False
        missed = int(late_s // self._period_s)
        self.skipped += missed
        self._next_s += (missed + 1) * self._period_s
        return True
