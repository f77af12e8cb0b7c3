"""Wires sources, pipeline, events, outbox and broker together, runs them, and ends them cleanly.

    source -> feed -> pipeline (one step for all cameras) -> tracker -> recorder -> outbox -> broker
                      this thread                                       one thread each

What is handed over is bounded everywhere, and nothing is handed back. Ending, in this order: the
trackers end their events, the recorder writes its pictures, the publisher delivers what it can in
the time allowed and says `offline`, the outbox closes. What the broker did not take stays in the
outbox and goes out at the next run.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import structlog

from edge.capture.source import Source
from edge.clock import Clock, rfc3339
from edge.events.event import Event, end_after_restart
from edge.events.recorder import Recorder
from edge.events.tracker import Detector, EventTracker, Report
from edge.feeds import FailedFeed, Feed, LiveFeed, RecordingFeed
from edge.frames import Frame, ScoreMap
from edge.publish.outbox import Outbox
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import BrokerSettings, Publisher
from edge.run_summary import CameraSummary, RunSummary
from engines.errors import InternalError, VigilError

HEARTBEAT_S = 60.0
STOP_FLUSH_S = 3.0  # a person or systemd waits; what is left goes out at the next start
_LONGEST_WAIT_S = 0.2  # so soon a requested stop is seen
# At another frame rate the same motion gives other flows and the window spans another time.
_RATE_TOLERANCE = 0.2

CameraState = Literal["live", "lost", "disabled"]

_log = structlog.get_logger()


class Scorer(Protocol):
    """What the daemon needs of `edge.pipeline.Pipeline`."""

    def new_view(self) -> Any:
        """Memory for one camera."""

    def step(self, work: Sequence[tuple[Any, Frame]]) -> list[ScoreMap]:
        """Score one new frame of each of some cameras."""


@dataclass(frozen=True)
class CameraJob:
    """A camera to watch; `realtime` plays a recording at its own speed."""

    name: str
    source: Source
    realtime: bool = False


@dataclass(frozen=True)
class DaemonSettings:
    """What the daemon is told.

    Attributes:
        broker: How to reach the broker, and the topics.
        media: Folder for pictures; None: none are written.
        flush_s: How long a run that has ended by itself waits for the broker.
        expected_fps: Frame rate that the model was trained at; None: not known.
    """

    broker: BrokerSettings
    media: Path | None
    flush_s: float = 10.0
    expected_fps: float | None = None


class _Camera:
    """A camera at work."""

    def __init__(
        self, name: str, feed: Feed, view: Any, tracker: EventTracker, since: datetime.datetime
    ) -> None:
        self.name = name
        self.feed = feed
        self.view = view
        self.tracker = tracker
        self.frames = 0
        self.events = 0
        self.state: CameraState = "live"
        self.since = since

    @property
    def over(self) -> bool:
        """Nothing will come any more."""
        return self.state != "live"

    def summary(self) -> CameraSummary:
        failure = self.feed.failure
        return CameraSummary(
            frames=self.frames,
            skipped=self.feed.skipped,
            dropped=self.feed.dropped,
            events=self.events,
            failure=None if failure is None else str(failure),
        )


class Daemon:
    """The runtime of one device.

    Args:
        settings: What it is told.
        cameras: At least one.
        pipeline: Scores frames; owned and closed by the caller.
        detector: What stands behind the scores.
        outbox: Not opened yet.
        clock: Time.
    """

    def __init__(
        self,
        *,
        settings: DaemonSettings,
        cameras: Sequence[CameraJob],
        pipeline: Scorer,
        detector: Detector,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._topics = settings.broker.topics
        self._jobs = tuple(cameras)
        self._pipeline = pipeline
        self._detector = detector
        self._clock = clock
        self._outbox = OutboxThread(outbox, on_commit=self._on_commit)
        self._publisher = Publisher(settings=settings.broker, outbox=self._outbox, clock=clock)
        self._recorder = Recorder(folder=settings.media, sink=self._sink)
        self._cameras: list[_Camera] = []
        # Plain, because it is set in signal handlers: a lock taken there could be held below.
        self._stops = 0
        self._announce = threading.Event()
        self._beat_at = 0.0
        self._first_s: float | None = None
        self._last_s = 0.0

    def request_stop(self) -> None:
        """End the run soon; a second request gives up delivering. For signal handlers."""
        self._stops += 1
        if self._stops > 1:
            self._publisher.hurry()

    @property
    def failures(self) -> list[VigilError]:
        """Why cameras were lost."""
        return [c.feed.failure for c in self._cameras if c.feed.failure is not None]

    def run(self) -> RunSummary:
        """Watch until all sources have ended or a stop is requested.

        Raises:
            VigilError: A source cannot be opened, the outbox cannot, or something broke; what had
                happened until then is in the outbox.
        """
        with contextlib.ExitStack() as stack:
            for job in self._jobs:
                self._cameras.append(self._open(job, stack))
            self._outbox.start()
            stack.callback(self._outbox.close)
            self._end_forgotten_events()
            for camera in self._cameras:
                self._show(camera, None)
            self._beat()
            self._publisher.start()
            self._recorder.start()
            try:
                self._watch()
            finally:
                self._finish_all()
            return self._summary()

    def _open(self, job: CameraJob, stack: contextlib.ExitStack) -> _Camera:
        feed = self._open_feed(job, stack)
        stack.callback(feed.close)
        tracker = EventTracker(
            device=self._topics.device,
            camera=job.name,
            detector=self._detector,
            clock=self._clock,
        )
        return _Camera(job.name, feed, self._pipeline.new_view(), tracker, self._clock.utc())

    def _open_feed(self, job: CameraJob, stack: contextlib.ExitStack) -> Feed:
        try:
            source = stack.enter_context(job.source)
        except VigilError as error:
            if len(self._jobs) == 1:
                raise
            return FailedFeed(error)  # the others are watched all the same
        _log.info("camera_open", camera=job.name, source=source.name, fps=source.fps)
        expected = self._settings.expected_fps
        if expected is not None and abs(source.fps / expected - 1.0) > _RATE_TOLERANCE:
            _log.warning("frame_rate_differs", camera=job.name, fps=source.fps, trained_at=expected)
        if source.live:
            return LiveFeed(source, announce=self._announce)
        return RecordingFeed(source, clock=self._clock, realtime=job.realtime)

    def _end_forgotten_events(self) -> None:
        """Events that were open when the last run died get their end."""
        for payload in self._outbox.open_events():
            now, state = self._clock.utc(), self._clock.state()
            self._outbox.append(end_after_restart(payload, now=now, clock=state))
            _log.warning("event_ended_after_restart", id=payload["id"])

    def _watch(self) -> None:
        while not self._stops:
            self._announce.clear()
            running = [camera for camera in self._cameras if not camera.over]
            if not running:
                return
            taken = [(camera, camera.feed.take()) for camera in running]
            work = [(camera, frame) for camera, frame in taken if frame is not None]
            if work:
                self._score(work)
            for camera in running:
                if camera.feed.finished:
                    self._camera_over(camera)
            if not work:
                self._announce.wait(self._next_due(running))
            self._look_after()

    def _score(self, work: Sequence[tuple[_Camera, Frame]]) -> None:
        if self._first_s is None:
            self._first_s = self._clock.monotonic()
        maps = self._pipeline.step([(camera.view, frame) for camera, frame in work])
        for (camera, frame), scored in zip(work, maps, strict=True):
            camera.frames += 1
            self._hand_on(camera, camera.tracker.update(frame, scored))
        self._last_s = self._clock.monotonic()

    def _next_due(self, running: Sequence[_Camera]) -> float:
        dues = [camera.feed.due_s() for camera in running if not camera.over]
        return min([due for due in dues if due is not None], default=_LONGEST_WAIT_S)

    def _camera_over(self, camera: _Camera) -> None:
        failure = camera.feed.failure
        if failure is None:
            _log.info("camera_ended", camera=camera.name, frames=camera.frames)
        else:
            _log.error("camera_lost", camera=camera.name, error=str(failure))
        self._retire(camera, "disabled" if failure is None else "lost")
        self._hand_on(camera, camera.tracker.finish("camera_lost" if failure else "source_ended"))

    def _retire(self, camera: _Camera, state: CameraState) -> None:
        camera.state, camera.since = state, self._clock.utc()
        self._show(camera, camera.tracker.open_id)

    def _hand_on(self, camera: _Camera, reports: Sequence[Report]) -> None:
        for report in reports:
            event = report.event
            camera.events += event.phase == "start"
            _log.info(
                f"event_{event.phase}",
                camera=camera.name,
                id=event.id,
                at_s=round(event.position_s, 2),
                score=round(event.peak_score, 2),
                threshold=round(event.threshold, 2),
                why=event.why,
            )
            self._recorder.submit(report)

    def _sink(self, event: Event) -> None:
        """In the recorder's thread: the pictures are on the disk."""
        self._outbox.append(event.payload())
        camera = next(camera for camera in self._cameras if camera.name == event.camera)
        self._show(camera, None if event.phase == "end" else event.id)

    def _on_commit(self) -> None:
        self._publisher.wake()

    def _show(self, camera: _Camera, open_id: str | None) -> None:
        """Publish a camera's retained topics as they are now."""
        state: dict[str, object] = {
            "state": camera.state,
            "since": rfc3339(camera.since),
            "flags": [],
            "event": open_id,
        }
        alarm = "OFF" if open_id is None else "ON"
        self._publisher.retain(self._topics.camera_state(camera.name), json.dumps(state))
        self._publisher.retain(self._topics.camera_alarm(camera.name), alarm)

    def _look_after(self) -> None:
        """Heartbeat, and whether the other threads live."""
        if self._clock.monotonic() >= self._beat_at:
            self._beat()
        if not self._publisher.alive:
            raise InternalError("the publishing thread has ended", mend="see the log above")

    def _beat(self) -> None:
        self._beat_at = self._clock.monotonic() + HEARTBEAT_S
        depth = self._outbox.depth()
        stream_id, seq = self._outbox.identity()
        state = {
            "at": rfc3339(self._clock.utc()),
            "clock": self._clock.state(),
            "release": self._detector.model.release,
            "bundle": self._detector.model.bundle,
            "stream_id": stream_id,
            "seq": seq,
            "outbox": asdict(depth),
            "degraded": ["outbox_full"] if depth.dropped else [],
        }
        self._publisher.retain(self._topics.state, json.dumps(state))

    def _finish_all(self) -> None:
        with contextlib.ExitStack() as stack:
            # Whatever fails here, the later steps are done all the same; last in, first out.
            stack.callback(self._stop_publisher)
            stack.callback(self._recorder.close)
            for camera in self._cameras:
                if not camera.over:
                    self._retire(camera, "disabled")
                    self._hand_on(camera, camera.tracker.finish("stopped"))

    def _stop_publisher(self) -> None:
        flush_s = self._settings.flush_s
        self._publisher.stop(flush_s=min(flush_s, STOP_FLUSH_S) if self._stops else flush_s)

    def _summary(self) -> RunSummary:
        depth, published = self._outbox.depth(), self._publisher.state
        frames = sum(camera.frames for camera in self._cameras)
        seconds = 0.0 if self._first_s is None else self._last_s - self._first_s
        return RunSummary(
            frames=frames,
            seconds=seconds,
            fps=frames / seconds if seconds > 0 else 0.0,
            events=sum(camera.events for camera in self._cameras),
            delivered=published.delivered,
            outbox_left=depth.rows,
            messages_dropped=depth.dropped,
            pictures_missing=self._recorder.pictures_dropped + self._recorder.pictures_failed,
            broker=str(self._settings.broker.address),
            broker_reached=published.connects > 0,
            stopped=self._stops > 0,
            cameras={camera.name: camera.summary() for camera in self._cameras},
        )
