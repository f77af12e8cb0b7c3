"""One camera at work inside the daemon's loop: its feed, its memory, its events, its state."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Protocol

import structlog

from edge.capture.camera_state import CameraState, Patience
from edge.clock import Clock
from edge.events.clips import ClipKeeper
from edge.events.event import Budget, EndReason
from edge.events.fault import CHANGED, UNFIT, FaultEnd, FaultTracker
from edge.events.recorder import Message
from edge.events.tracker import EventTracker, Report
from edge.feeds import Feed
from edge.frames import Frame, ScoreMap
from edge.observer import CameraStatus
from edge.run_summary import CameraSummary

# Cell statistics are spatial: another aspect ratio shows another part of the scene.
_ASPECT_TOLERANCE = 0.02
# Deadlines and people go by the rate that was told; smaller changes are no news.
_RATE_TOLERANCE = 1.5
# With less of the picture left a camera cannot be said to watch.
_MOST_HELD = 0.5
# A lost camera ends its event, whatever comes next; a stale one may be back in a moment.
_ENDS: dict[CameraState, EndReason] = {"lost": "camera_lost", "frozen": "camera_frozen"}

_log = structlog.get_logger()


class CameraView(Protocol):
    """What a pipeline remembers of a camera."""

    def reset(self) -> None:
        """Forget the past."""


class WatchedCamera:
    """A camera at work.

    Args:
        name: Its name.
        feed: Its frames.
        view: Its memory in the pipeline.
        tracker: Its events.
        faults: Its faults.
        clips: Its clips.
        clock: Time.
        shape: Height and width that its statistics are of; None: of its first frame.
        threshold: For its status.
        budget: For its status.
        patience: For its status.
    """

    def __init__(
        self,
        *,
        name: str,
        feed: Feed,
        view: CameraView,
        tracker: EventTracker,
        faults: FaultTracker,
        clips: ClipKeeper,
        clock: Clock,
        shape: tuple[int, int] | None = None,
        threshold: float | None = None,
        budget: Budget | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.feed = feed
        self.view = view
        self.frames = 0
        self.events = 0
        self._tracker = tracker
        self._faults = faults
        self._threshold = threshold
        self._budget = budget
        self._patience = patience
        self._clips = clips
        self._clock = clock
        self._state: CameraState = "connecting" if feed.live else "live"
        self._reason: str | None = None
        self._since: datetime.datetime = clock.utc()
        self._epoch = feed.epoch
        self._shape: tuple[int, int] | None = None
        self._first_shape = shape
        self._unfit = False
        self._changed = False
        self._losses = 0
        self._shown: tuple[object, ...] | None = None
        self._shown_fps: float | None = None

    @property
    def over(self) -> bool:
        """Nothing will come any more, and all of it was taken."""
        return self._state == "disabled" or (not self.feed.live and self._state == "lost")

    def follow(self) -> list[Message]:
        """Take over what the feed's supervisor has decided; the messages that follow from it."""
        reports: list[Message] = []
        for change in self.feed.drain():
            age_s = self._clock.monotonic() - change.at_s
            since = self._clock.utc() - datetime.timedelta(seconds=age_s)
            self._enter(change.state, change.reason, since)
            self._losses += change.state == "lost"
            if change.state in _ENDS:
                reports += self._finish(_ENDS[change.state])
            reports += self._observe_fault(change.at_s)
        reports += self._faults.turn(self._clock.monotonic())
        return reports

    def admit(self, frame: Frame) -> tuple[bool, list[Message]]:
        """Whether to score a frame, and the messages that follow from its size."""
        reports: list[Message] = []
        shape = (frame.bgr.shape[0], frame.bgr.shape[1])
        if self.feed.epoch != self._epoch:
            self._epoch = self.feed.epoch
            self.view.reset()
        if self._shape is not None and shape != self._shape:
            _log.warning("geometry_changed", camera=self.name, before=self._shape, now=shape)
            reports += self._finish("geometry_changed")
            self.view.reset()
        self._shape = shape
        self._first_shape = self._first_shape or shape
        unfit = not same_aspect(shape, self._first_shape)
        if unfit != self._unfit:
            self._unfit = unfit
            reports += self._observe_fault(self._clock.monotonic())
        return not unfit, reports

    def without_lasting(self, scored: ScoreMap) -> ScoreMap:
        """The scores of an admitted frame without the places that have changed for long."""
        return self._tracker.lasting.watch(scored)

    def scored(self, frame: Frame, scored: ScoreMap) -> list[Message]:
        """Take the scores of an admitted frame; the messages that follow from them."""
        self.frames += 1
        reports = self._clips.take(frame, self._tracker.update(frame, scored))
        self.feed.busy = self._tracker.open_id is not None
        changed = self._tracker.lasting.share >= _MOST_HELD
        messages: list[Message] = [*self._counted(reports)]
        if changed != self._changed:
            self._changed = changed
            messages += self._observe_fault(self._clock.monotonic())
        return messages

    def retire(
        self, state: CameraState, reason: EndReason, *, fault_end: FaultEnd = "stopped"
    ) -> list[Message]:
        """End it for good: `disabled`, or `lost` for a recording that broke."""
        self._enter(state, None, self._clock.utc())
        over = self._faults.finish(fault_end, self._clock.monotonic())
        return [*self._finish(reason), *over]

    def retire_for_another(self) -> list[Message]:
        """The configuration says something else of this camera, or nothing any more."""
        messages = self.retire("disabled", "reconfigured", fault_end="reconfigured")
        self._reason = "reconfigured"
        return messages

    def changed(self) -> CameraStatus | None:
        """How it stands, if that is another way than at the last call."""
        status = self.status()
        shown = (status.state, status.reason, status.since, status.flags)
        if shown == self._shown and _same_rate(status.fps, self._shown_fps):
            return None
        self._shown, self._shown_fps = shown, status.fps
        return status

    def status(self) -> CameraStatus:
        """How it stands."""
        flags = [*self.feed.flags, *([UNFIT] if self._unfit else [])]
        if self._tracker.lasting.share > 0.0:
            flags.append(CHANGED)
        return CameraStatus(
            name=self.name,
            state=self._state,
            reason=self._reason,
            since=self._since,
            flags=tuple(flags),
            fps=self.feed.fps,
            scored=self.frames,
            dropped=self.feed.dropped,
            skipped=self.feed.skipped,
            losses=self._losses,
            threshold=self._threshold,
            budget=self._budget,
            patience=self._patience,
        )

    def summary(self) -> CameraSummary:
        """Its part of a run."""
        failure = self.feed.failure
        return CameraSummary(
            frames=self.frames,
            skipped=self.feed.skipped,
            dropped=self.feed.dropped,
            events=self.events,
            failure=None if failure is None else str(failure),
            losses=self._losses,
        )

    def _enter(self, state: CameraState, reason: str | None, since: datetime.datetime) -> None:
        self._state, self._reason, self._since = state, reason, since

    def _observe_fault(self, at_s: float) -> list[Message]:
        """A recording that breaks is told by the run's exit code, and is no camera."""
        if not self.feed.live:
            return []
        unfit = UNFIT if self._unfit else CHANGED if self._changed else None
        return [*self._faults.observe(self._state, self._reason, at_s, unfit=unfit)]

    def _finish(self, reason: EndReason) -> list[Report]:
        reports = self._clips.finish(self._tracker.finish(reason))
        self.feed.busy = False
        return self._counted(reports)

    def _counted(self, reports: Iterable[Report]) -> list[Report]:
        counted = list(reports)
        self.events += sum(report.event.phase == "start" for report in counted)
        return counted


def _same_rate(fps: float | None, told: float | None) -> bool:
    """Whether what was told of the rate, not known or about so many a second, still holds."""
    if not fps or not told:
        return fps == told
    return 1.0 / _RATE_TOLERANCE <= fps / told <= _RATE_TOLERANCE


def same_aspect(shape: tuple[int, int], first: tuple[int, int]) -> bool:
    """Whether two pictures (height, width) can be of the same part of the scene."""
    ratio = (shape[1] / shape[0]) / (first[1] / first[0])
    return abs(ratio - 1.0) <= _ASPECT_TOLERANCE
