"""The states of one camera, and what leads from one to another. No clock, thread or process here.

    connecting  -> live         first frame
    live        -> stale        no frame for some time
    live        -> frozen       the picture does not change
    stale       -> live         a frame
    frozen      -> live         the picture changes
    any of them -> lost         time-out, refusal, end of the process
    lost        -> backoff      at once; quarantined after a refused login
    backoff, quarantined -> connecting

Rules:

1. First connect and reconnect are the same path.
2. A new capture process is wanted whenever `attempt` rises; none is wanted where `capturing` is
   False. Nothing is ever revived: a source that failed is opened by a new process.
3. `stale`: the newest frame is older than max(stale_s, 5 observed periods), so that slow cameras
   are not taken for dead ones. One late frame is a gap and no rate; two in a row are a rate.
4. `frozen`: the picture has not changed at all for max(frozen_s, 3 times the longest time between
   key frames or the longest still span that this camera has shown while it was well): a quiet
   scene under strong compression changes at key frames only. One new process at once, then one
   every `frozen_retry_s`; the state is left by a change of the picture.
5. `lost` goes to `backoff` at once. Pauses are min(backoff_max_s, uniform(backoff_min_s, 3 times
   the pause before)), also when the refusal is instant; a camera that was live for `settled_s`
   starts from the shortest pause again.
6. `quarantined`: the login was refused (repeated attempts lock camera accounts), or a process could
   not be killed. One attempt every `quarantine_s`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

CameraState = Literal[
    "disabled", "connecting", "live", "stale", "frozen", "lost", "backoff", "quarantined"
]

_STALE_PERIODS = 5.0
_STILL_SPANS = 3.0
_LONGEST_SPAN_S = 100.0  # a still span that counts; three of them are five minutes
_PERIOD_WEIGHT = 0.1
_LATE_IN_A_ROW = 2


@dataclass(frozen=True)
class Patience:
    """How long to wait for a camera, all in seconds; see the rules above."""

    connect_s: float = 15.0
    stale_s: float = 2.0
    lost_s: float = 10.0
    frozen_s: float = 20.0
    frozen_retry_s: float = 300.0
    backoff_min_s: float = 1.0
    backoff_max_s: float = 60.0
    settled_s: float = 60.0
    quarantine_s: float = 300.0


@dataclass(frozen=True)
class Change:
    """A camera entered a state; `reason` is for people and programs, None where it is plain."""

    state: CameraState
    reason: str | None
    at_s: float


class CameraMachine:
    """Follows one camera. All times are monotonic seconds.

    Args:
        patience: The limits.
        draw: Uniform random number between two bounds; tests pass their own.
    """

    def __init__(
        self, patience: Patience, *, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._patience = patience
        self._draw = draw
        self.state: CameraState = "disabled"
        self.reason: str | None = None
        self.attempt = 0
        """Rises with each capture process that is wanted."""
        self._entered_s = 0.0
        self._attempt_s = 0.0
        self._pause_s = patience.backoff_min_s
        self._wait_s = 0.0
        self._frame_s = 0.0
        self._number = 0
        self._period_s: float | None = None
        self._late = 0  # frames in a row that came while the camera was stale
        self._still_s = 0.0
        self._longest_still_s = 0.0
        self._changes: list[Change] = []

    @property
    def capturing(self) -> bool:
        """Whether a capture process is wanted."""
        return self.state in ("connecting", "live", "stale", "frozen")

    @property
    def fps(self) -> float | None:
        """Observed frames per second."""
        return None if not self._period_s else 1.0 / self._period_s

    @property
    def frozen_after_s(self) -> float:
        """Stillness that counts as frozen."""
        return max(self._patience.frozen_s, _STILL_SPANS * self._longest_still_s)

    def drain(self) -> list[Change]:
        """The changes since the last call, oldest first."""
        changes, self._changes = self._changes, []
        return changes

    def start(self, now_s: float) -> None:
        """Begin to watch."""
        self._connect(now_s)

    def disable(self, now_s: float, reason: str | None = None) -> None:
        """Watch no longer."""
        self._enter("disabled", reason, now_s)

    def frame(
        self, now_s: float, *, number: int, still_s: float, changes: int, key_frame_s: float = 0.0
    ) -> None:
        """The newest frame of this attempt; see `edge.capture.frame_ring.FrameMeta`."""
        if number <= self._number or not self.capturing:
            return
        if self._number:
            self._observe_period((now_s - self._frame_s) / (number - self._number))
        self._frame_s, self._number = now_s, number
        if self.state == "frozen":
            if changes > 0:
                self._enter("live", None, now_s)
            return
        if still_s < self._still_s:
            self._learn_habit(self._still_s)
        self._learn_habit(key_frame_s)
        self._still_s = still_s
        if still_s > self.frozen_after_s:
            self._freeze(now_s)
        elif self.state in ("connecting", "stale"):
            self._enter("live", None, now_s)

    def failed(self, now_s: float, reason: str, *, refused: bool = False) -> None:
        """The capture process has ended, or says that it cannot go on."""
        if self.capturing:
            self._lose(now_s, reason, refused=refused)

    def unkillable(self, now_s: float) -> None:
        """The old process does not end, so no new one may be started."""
        self._quarantine(now_s, "unkillable")

    def renew(self, now_s: float, reason: str) -> None:
        """Replace a running capture process; not the camera's fault, so without a pause."""
        self._connect(now_s, reason)

    def tick(self, now_s: float) -> None:
        """Let time pass."""
        patience, age_s = self._patience, now_s - self._entered_s
        if self.state == "connecting" and age_s > patience.connect_s:
            self._lose(now_s, "open_timeout")
        elif self.state == "live":
            if now_s - self._frame_s > self._stale_after_s():
                self._enter("stale", "no_frames", now_s)
            elif age_s > patience.settled_s:
                self._pause_s = patience.backoff_min_s
        elif self.state == "stale" and age_s > patience.lost_s:
            self._lose(now_s, "no_frames")
        elif self.state == "frozen":
            self._look_after_frozen(now_s)
        elif self.state in ("backoff", "quarantined") and age_s >= self._wait_s:
            self._connect(now_s)

    def _look_after_frozen(self, now_s: float) -> None:
        patience = self._patience
        newest_s = max(self._frame_s, self._attempt_s)
        if now_s - newest_s > patience.connect_s + patience.lost_s:
            self._lose(now_s, "no_frames")
        elif now_s - self._attempt_s > patience.frozen_retry_s:
            self._begin_attempt(now_s)

    def _stale_after_s(self) -> float:
        return max(self._patience.stale_s, _STALE_PERIODS * (self._period_s or 0.0))

    def _observe_period(self, period_s: float) -> None:
        self._late = self._late + 1 if self.state == "stale" else 0
        if 0 < self._late < _LATE_IN_A_ROW:
            return
        before = period_s if self._period_s is None or self._late else self._period_s
        self._period_s = before + _PERIOD_WEIGHT * (period_s - before)

    def _learn_habit(self, still_s: float) -> None:
        self._longest_still_s = max(self._longest_still_s, min(still_s, _LONGEST_SPAN_S))

    def _freeze(self, now_s: float) -> None:
        self._enter("frozen", "picture_unchanged", now_s)
        self._begin_attempt(now_s)

    def _lose(self, now_s: float, reason: str, *, refused: bool = False) -> None:
        if refused:
            self._quarantine(now_s, reason)
            return
        self._enter("lost", reason, now_s)
        patience = self._patience
        drawn = self._draw(patience.backoff_min_s, 3.0 * self._pause_s)
        self._pause_s = min(patience.backoff_max_s, drawn)
        self._wait_s = self._pause_s
        self._enter("backoff", reason, now_s)

    def _quarantine(self, now_s: float, reason: str) -> None:
        self._enter("lost", reason, now_s)
        self._wait_s = self._patience.quarantine_s
        self._enter("quarantined", reason, now_s)

    def _connect(self, now_s: float, reason: str | None = None) -> None:
        self._begin_attempt(now_s)
        self._enter("connecting", reason, now_s)

    def _begin_attempt(self, now_s: float) -> None:
        self.attempt += 1
        self._attempt_s = now_s
        self._number, self._still_s, self._late = 0, 0.0, 0

    def _enter(self, state: CameraState, reason: str | None, now_s: float) -> None:
        self.state, self.reason, self._entered_s = state, reason, now_s
        self._changes.append(Change(state, reason, now_s))
