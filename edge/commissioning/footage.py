"""Live footage of one camera for a stated time: frames that were seen, not time that has passed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from calibration.alarm_rule import TIME_TOLERANCE_S
from edge.clock import Clock
from edge.feeds import Feed
from edge.frames import Frame
from edge.ticks import Ticker
from edge.watched import same_aspect
from engines.errors import DataError, TemporaryError

IDLE_MAX_S = 600.0
# A step between two frames that is longer than this is no footage of the time between them.
STEP_MAX_S = 5.0
_WAIT_S = 0.2


@dataclass(frozen=True)
class Look:
    """A frame; `cut`: it does not continue the one before."""

    frame: Frame
    cut: bool


class Footage:
    """Frames of one camera at the daemon's beat, and how much footage they are.

    Args:
        feed: The camera or recording, started.
        announce: Set by the feed when there is something new.
        ticker: The daemon's beat.
        clock: Time.
        progress: Told the seconds of footage after each frame.
        idle_max_s: Without a frame for so long it gives up.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        announce: threading.Event,
        ticker: Ticker,
        clock: Clock,
        progress: Callable[[float], None] = lambda _seconds: None,
        idle_max_s: float = IDLE_MAX_S,
    ) -> None:
        self._feed = feed
        self._announce = announce
        self._ticker = ticker
        self._clock = clock
        self._progress = progress
        self._idle_max_s = idle_max_s
        self._last: Frame | None = None
        self._epoch = feed.epoch
        self.seconds = 0.0
        """Footage so far."""
        self.shape: tuple[int, int] | None = None
        """Height and width of the picture."""

    def take(self, seconds: float) -> Iterator[Look]:
        """Frames until there are so many more seconds of footage.

        Raises:
            TemporaryError: The camera gives nothing for long.
            DataError: A recording is over, or broken; or the picture shows another part.
        """
        until_s = self.seconds + seconds
        idle_s = self._clock.monotonic()
        while self.seconds < until_s - TIME_TOLERANCE_S:
            self._announce.clear()
            self._feed.drain()
            frame = self._next()
            if frame is not None:
                idle_s = self._clock.monotonic()
                yield self._look(frame)
                continue
            self._require_more(until_s)
            if self._clock.monotonic() - idle_s > self._idle_max_s:
                raise TemporaryError(
                    f"the camera has given nothing for {self._idle_max_s:g} s; what was learned "
                    "until then is not used",
                    mend="vigil doctor CONFIG tests the camera; then commission again",
                )
            self._announce.wait(self._due_s())

    def _next(self) -> Frame | None:
        if self._feed.live and not self._ticker.take():
            return None
        return self._feed.take()

    def _due_s(self) -> float:
        due_s = self._feed.due_s()
        if self._feed.live:
            due_s = self._ticker.due_s()
        return _WAIT_S if due_s is None else min(_WAIT_S, due_s)

    def _require_more(self, until_s: float) -> None:
        if self._feed.failure is not None:
            raise self._feed.failure
        if self._feed.finished:
            raise DataError(
                f"the recording is over after {self.seconds:.0f} s, {until_s:.0f} s were asked for",
                mend="ask for less with --for, or give more footage",
            )

    def _look(self, frame: Frame) -> Look:
        shape = (frame.bgr.shape[0], frame.bgr.shape[1])
        self.shape = self.shape or shape
        if not same_aspect(shape, self.shape):
            raise DataError(
                f"the picture changed from {self.shape[1]}x{self.shape[0]} to "
                f"{shape[1]}x{shape[0]}: it shows another part of the scene",
                mend="set the camera to one resolution, then commission again",
            )
        last, self._last = self._last, frame
        step_s = 0.0 if last is None else frame.time_s - last.time_s
        cut = (
            last is None
            or self._feed.epoch != self._epoch
            or last.bgr.shape != frame.bgr.shape
            or not 0.0 <= step_s <= STEP_MAX_S
        )
        self._epoch = self._feed.epoch
        if not cut:
            self.seconds += step_s
            self._progress(self.seconds)
        return Look(frame, cut)
