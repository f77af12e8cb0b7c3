"""The one alarm machine: when a sequence of frame scores is an alarm event, and when it ends.

Calibration counts events with it, evaluation scores with it and the runtime publishes from it, so
that a budget means the same in all three. The rules (method sections 4 and 5, device section 3):

1. A frame is above when its score is strictly larger than the threshold.
2. An event opens at the `open_frames`-th consecutive frame above.
3. While it is open, every frame above continues it. It falls quiet at the first frame below that
   lies `close_s` or more after the last frame above.
4. From then on a new opening (rule 2) continues the same event, until a frame below lies
   `merge_s` or more after it fell quiet; at that frame the event is closed for good.
5. Only frames close an event: with no frames the timers stand still. A source that ends or is lost
   is ended by `finish`.

So every event gives exactly one opening and one closing, and one frame never gives both.
The module holds no clock and opens no file; times are seconds of the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

# Times are frame index / rate in floating point: one second at 10 frames per second may come out as
# 0.9999999999999998. A microsecond is far below any frame period.
TIME_TOLERANCE_S = 1e-6

TransitionKind = Literal["opened", "closed"]
State = Literal["idle", "candidate", "active", "cooling", "merging"]


class AlarmParameters(Protocol):
    """What a rule consists of; `engines.model_spec.AlarmSpec` and `AlarmRule` both have it."""

    @property
    def threshold(self) -> float:
        """Scores strictly above it count."""

    @property
    def open_frames(self) -> int:
        """Consecutive frames above that open an event."""

    @property
    def close_s(self) -> float:
        """Seconds below after which it falls quiet."""

    @property
    def merge_s(self) -> float:
        """Seconds after falling quiet in which a new opening continues it."""


@dataclass(frozen=True)
class AlarmRule:
    """The four numbers of the rule on their own; see `AlarmParameters`."""

    threshold: float
    open_frames: int = 3
    close_s: float = 1.0
    merge_s: float = 1.0


@dataclass(frozen=True)
class AlarmEvent:
    """One alarm event; all times in seconds of the source.

    Attributes:
        first_s: First frame of the run of frames above that opened it.
        opened_s: The frame that opened it (the `open_frames`-th of that run).
        last_s: Its last frame above the threshold.
        closed_s: The frame at which it fell quiet; while it is still running, or when it was cut
            short by `finish`, the newest time.
        peak_s: Frame of its largest score.
        peak_score: Its largest score, in the unit of the threshold.
    """

    first_s: float
    opened_s: float
    last_s: float
    closed_s: float
    peak_s: float
    peak_score: float


@dataclass(frozen=True)
class Transition:
    """An event was opened or closed for good.

    Attributes:
        kind: What happened.
        time_s: The frame at which it was decided.
        event: The event as it stands at that frame.
    """

    kind: TransitionKind
    time_s: float
    event: AlarmEvent


@dataclass
class _Run:
    """Consecutive frames above that have not opened or continued an event yet."""

    first_s: float
    frames: int
    peak_s: float
    peak_score: float


@dataclass
class _Open:
    """The running event; `quiet_s` is set while it merges."""

    first_s: float
    opened_s: float
    last_s: float
    peak_s: float
    peak_score: float
    quiet_s: float | None = None

    def above(self, time_s: float, peak_s: float, peak_score: float) -> None:
        self.last_s = time_s
        self.quiet_s = None
        if peak_score > self.peak_score:
            self.peak_s, self.peak_score = peak_s, peak_score

    def frozen(self, now_s: float) -> AlarmEvent:
        closed_s = now_s if self.quiet_s is None else self.quiet_s
        return AlarmEvent(
            self.first_s, self.opened_s, self.last_s, closed_s, self.peak_s, self.peak_score
        )


class AlarmMachine:
    """Takes one score per frame and tells of openings and closings; one machine per camera.

    Args:
        threshold: In the unit of the scores.
        open_frames: Consecutive frames above that open an event, at least 1.
        close_s: Seconds below after which an event falls quiet, at least 0.
        merge_s: Seconds after falling quiet in which a new opening continues it, at least 0.

    Raises:
        DataError: A parameter is out of its range or not a number.
    """

    def __init__(
        self,
        threshold: float,
        open_frames: int = 3,
        close_s: float = 1.0,
        merge_s: float = 1.0,
    ) -> None:
        if math.isnan(threshold) or open_frames < 1 or not close_s >= 0 or not merge_s >= 0:
            raise DataError(
                "an alarm rule needs a threshold, open_frames of at least 1 and times of at least "
                f"0 s; found threshold={threshold}, open_frames={open_frames}, close_s={close_s}, "
                f"merge_s={merge_s}"
            )
        self._threshold = threshold
        self._open_frames = open_frames
        self._close_s = close_s - TIME_TOLERANCE_S
        self._merge_s = merge_s - TIME_TOLERANCE_S
        self._run: _Run | None = None
        self._open: _Open | None = None
        self._now_s = -math.inf

    @classmethod
    def of(cls, rule: AlarmParameters) -> AlarmMachine:
        """Make a machine from a rule or from a bundle's `AlarmSpec`."""
        return cls(rule.threshold, rule.open_frames, rule.close_s, rule.merge_s)

    @property
    def event(self) -> AlarmEvent | None:
        """The running event as it stands now, merging included; None when there is none."""
        return None if self._open is None else self._open.frozen(self._now_s)

    @property
    def state(self) -> State:
        """Where the machine stands after the newest frame."""
        if self._open is None:
            return "idle" if self._run is None else "candidate"
        if self._open.quiet_s is not None:
            return "merging"
        return "active" if self._open.last_s == self._now_s else "cooling"

    def update(self, time_s: float, score: float) -> Transition | None:
        """Take the next frame.

        Raises:
            DataError: The score is not a number, or time runs backwards.
        """
        if math.isnan(score) or not time_s >= self._now_s:
            raise DataError(
                f"frame at {time_s} s has score {score}; scores must be numbers and times must not "
                f"fall (the frame before was at {self._now_s} s)",
                mend="start a new machine for a new clip or connection",
            )
        self._now_s = time_s
        return self._above(time_s, score) if score > self._threshold else self._below(time_s)

    def finish(self, time_s: float) -> Transition | None:
        """End the running event, if any, because the source ended; the machine starts afresh."""
        event = self._open
        self._open = self._run = None
        self._now_s = -math.inf
        if event is None:
            return None
        return Transition("closed", time_s, event.frozen(time_s))

    def _above(self, time_s: float, score: float) -> Transition | None:
        event = self._open
        if event is not None and event.quiet_s is None:
            event.above(time_s, time_s, score)
            return None
        run = self._run
        if run is None:
            run = self._run = _Run(time_s, 0, time_s, score)
        run.frames += 1
        if score > run.peak_score:
            run.peak_s, run.peak_score = time_s, score
        if run.frames < self._open_frames:
            return None
        self._run = None
        if event is not None:
            event.above(time_s, run.peak_s, run.peak_score)
            return None
        self._open = _Open(run.first_s, time_s, time_s, run.peak_s, run.peak_score)
        return Transition("opened", time_s, self._open.frozen(time_s))

    def _below(self, time_s: float) -> Transition | None:
        self._run = None
        event = self._open
        if event is None:
            return None
        if event.quiet_s is None and time_s - event.last_s >= self._close_s:
            event.quiet_s = time_s
        if event.quiet_s is None or time_s - event.quiet_s < self._merge_s:
            return None
        self._open = None
        return Transition("closed", time_s, event.frozen(time_s))


def alarm_events(
    times: Sequence[float] | NDArray[np.float64],
    scores: Sequence[float] | NDArray[np.float64],
    rule: AlarmParameters,
) -> list[AlarmEvent]:
    """Run the machine over one clip; an event still open at the end is closed at the last frame.

    Args:
        times: Seconds, one per frame, never falling.
        scores: One per frame.
        rule: Threshold and timing.

    Raises:
        DataError: Lengths differ, a score is not a number, or time runs backwards.
    """
    if len(times) != len(scores):
        raise DataError(f"a clip has {len(times)} times but {len(scores)} scores")
    machine = AlarmMachine.of(rule)
    events: list[AlarmEvent] = []
    now_s = 0.0
    for time, score in zip(times, scores, strict=True):
        now_s = float(time)
        transition = machine.update(now_s, float(score))
        if transition is not None and transition.kind == "closed":
            events.append(transition.event)
    last = machine.finish(now_s)
    if last is not None:
        events.append(last.event)
    return events
