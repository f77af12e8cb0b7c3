"""The daemon's loop: frames of all cameras into one step of the pipeline, scores into messages.

It waits for no camera. Live cameras are asked at the common beat, recordings as fast as they are
wanted; what has a new frame then goes into one batch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from edge.clock import Clock
from edge.daemon_settings import Scorer
from edge.events.event import Event
from edge.events.fault import CameraFault
from edge.events.recorder import Message, Recorder
from edge.frames import Frame, ScoreMap
from edge.observer import Observers
from edge.ticks import Ticker
from edge.watched import WatchedCamera

_LONGEST_WAIT_S = 0.2  # so soon a requested stop is seen

_log = structlog.get_logger()


class Loop:
    """All cameras at work.

    Args:
        cameras: At work already.
        pipeline: Scores their frames.
        recorder: Takes the messages.
        observers: Told what happens.
        ticker: The beat of the live cameras.
        announce: Set by feeds that have something new.
        clock: Time.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[WatchedCamera],
        pipeline: Scorer,
        recorder: Recorder,
        observers: Observers,
        ticker: Ticker,
        announce: threading.Event,
        clock: Clock,
    ) -> None:
        self._cameras = cameras
        self._pipeline = pipeline
        self._recorder = recorder
        self._observers = observers
        self._ticker = ticker
        self._announce = announce
        self._clock = clock
        self.first_s: float | None = None
        """When the first step began, monotonic."""
        self.last_s = 0.0
        """When the newest step ended."""

    def turn(self) -> bool:
        """One turn: at most one step of the pipeline, else a short wait; False: all is over."""
        self._announce.clear()
        running = [camera for camera in self._cameras if not camera.over]
        for camera in running:
            self.hand_on(camera.follow())
        work = self._collect(running)
        if work:
            self._score(work)
        for camera in running:
            if camera.feed.finished:
                self._camera_over(camera)
            self._tell_changes(camera)
        if running and not work:
            self._announce.wait(self._next_due(running))
        self._observers.tell(lambda one: one.turned())
        return bool(running)

    def finish(self) -> None:
        """The run is stopped: end the events that are open."""
        for camera in self._cameras:
            if not camera.over:
                self.hand_on(camera.retire("disabled", "stopped"))
            self._tell_changes(camera)

    def _collect(self, running: Sequence[WatchedCamera]) -> list[tuple[WatchedCamera, Frame]]:
        """At most one new frame of each camera; of live ones only at a tick."""
        tick = self._ticker.take()
        work: list[tuple[WatchedCamera, Frame]] = []
        for camera in running:
            frame = camera.feed.take() if tick or not camera.feed.live else None
            if frame is None:
                continue
            fit, reports = camera.admit(frame)
            self.hand_on(reports)
            if fit:
                work.append((camera, frame))
        return work

    def _score(self, work: Sequence[tuple[WatchedCamera, Frame]]) -> None:
        if self.first_s is None:
            self.first_s = self._clock.monotonic()
        maps = self._pipeline.step([(camera.view, frame) for camera, frame in work])
        for (camera, frame), scored in zip(work, maps, strict=True):
            rest = camera.without_lasting(scored)
            self.hand_on(camera.scored(frame, rest))
            self._tell_score(camera.name, frame, rest)
        self.last_s = self._clock.monotonic()

    def _tell_score(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
        self._observers.tell(lambda one: one.scored(camera, frame, scored))

    def _tell_changes(self, camera: WatchedCamera) -> None:
        status = camera.changed()
        if status is not None:
            self._observers.tell(lambda one: one.camera_changed(status))

    def _next_due(self, running: Sequence[WatchedCamera]) -> float:
        dues = [camera.feed.due_s() for camera in running if not camera.over]
        known = [due for due in [*dues, self._tick_due(running)] if due is not None]
        return min([*known, _LONGEST_WAIT_S])

    def _tick_due(self, running: Sequence[WatchedCamera]) -> float | None:
        return self._ticker.due_s() if any(camera.feed.live for camera in running) else None

    def _camera_over(self, camera: WatchedCamera) -> None:
        failure = camera.feed.failure
        if failure is None:
            _log.info("camera_ended", camera=camera.name, frames=camera.frames)
            self.hand_on(camera.retire("disabled", "source_ended"))
        else:
            _log.error("camera_lost", camera=camera.name, error=str(failure))
            self.hand_on(camera.retire("lost", "camera_lost"))

    def hand_on(self, messages: Sequence[Message]) -> None:
        """Give messages to the recorder."""
        for message in messages:
            self._recorder.submit(message)
            if isinstance(message, CameraFault):
                _log_fault(message)
            else:
                _log_event(message.event)


def _log_fault(fault: CameraFault) -> None:
    """A camera that is not watched is what a person is called for."""
    facts = {"camera": fault.camera, "id": fault.id, "state": fault.state, "cause": fault.cause}
    if fault.phase == "end":
        _log.info("camera_fault_over", **facts, reason=fault.reason)
    else:
        _log.warning("camera_fault", **facts, why=fault.why)


def _log_event(event: Event) -> None:
    _log.info(
        f"event_{event.phase}",
        camera=event.camera,
        id=event.id,
        at_s=round(event.position_s, 2),
        score=round(event.peak_score, 2),
        threshold=round(event.threshold, 2),
        why=event.why,
    )
