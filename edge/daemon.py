"""Wires cameras, pipeline, events, outbox and broker together, runs them, and ends them cleanly.

    camera -> feed -> pipeline (one step for all cameras) -> tracker -> recorder -> outbox -> broker
                      this thread                                       one thread each

What is handed over is bounded everywhere, and nothing is handed back. A live camera never ends the
run: its supervisor (`edge.capture.supervisor`) brings it back. Ending, in this order: the trackers
end their events, the recorder writes its pictures, the publisher delivers what it can in the time
allowed and says `offline`, the outbox closes. What the broker did not take stays in the outbox and
goes out at the next run.

Further parts are observers (`edge.observer`): given to the constructor, told what happens.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import structlog

from edge.announcer import Announcer
from edge.capture.supervisor import CameraSupervisor
from edge.clock import Clock
from edge.daemon_settings import CameraJob, DaemonSettings, LiveInput, Scorer
from edge.events.clips import ClipKeeper
from edge.events.event import Event, end_after_restart
from edge.events.recorder import Recorder
from edge.events.tracker import Detector, EventTracker
from edge.feeds import Feed, NoFeed, RecordingFeed
from edge.home_assistant import HomeAssistant
from edge.loop import Loop
from edge.observer import Observer, Observers
from edge.publish.outbox import Outbox
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import Publisher
from edge.run_summary import RunSummary
from edge.ticks import Ticker
from edge.vitals import Vitals
from edge.watched import WatchedCamera
from engines.errors import InternalError, VigilError

STOP_FLUSH_S = 3.0  # a person or systemd waits; what is left goes out at the next start
# At another frame rate the same motion gives other flows and the window spans another time.
_RATE_TOLERANCE = 0.2

_log = structlog.get_logger()


class Daemon:
    """The runtime of one device.

    Args:
        settings: What it is told.
        cameras: At least one.
        pipeline: Scores frames; owned and closed by the caller.
        detector: What stands behind the scores.
        outbox: Not opened yet.
        clock: Time.
        observers: Parts that are told what happens.
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
        observers: Sequence[Observer] = (),
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
        self._cameras: list[WatchedCamera] = []
        self._observers = Observers([*self._tellers(outbox), *observers])
        # Plain, because it is set in signal handlers: a lock taken there could be held below.
        self._stops = 0
        self._announce = threading.Event()
        self._ticker = Ticker(settings.analysis_fps, clock=clock)
        self._loop = Loop(
            cameras=self._cameras,
            pipeline=pipeline,
            recorder=self._recorder,
            observers=self._observers,
            ticker=self._ticker,
            announce=self._announce,
            clock=clock,
        )

    def _tellers(self, outbox: Outbox) -> list[Observer]:
        """The parts that keep the retained topics true."""
        settings, broker, model = self._settings, self._settings.broker, self._detector.model
        pictures = settings.media if settings.snapshots else None
        announcer = Announcer(
            publisher=self._publisher,
            outbox=self._outbox,
            topics=self._topics,
            model=model,
            clock=self._clock,
            state=outbox.path.parent,
            pictures=pictures,
            verified=not (broker.address.tls and broker.tls.skip_verify),
        )
        home_assistant = HomeAssistant(
            publisher=self._publisher,
            outbox=self._outbox,
            topics=self._topics,
            prefix=settings.home_assistant,
            release=model.release,
            snapshots=pictures is not None,
        )
        return [announcer, home_assistant]

    def request_stop(self) -> None:
        """End the run soon; a second request gives up delivering. For signal handlers."""
        self._stops += 1
        if self._stops > 1:
            self._publisher.hurry()

    @property
    def failures(self) -> list[VigilError]:
        """Why recordings were lost."""
        return [c.feed.failure for c in self._cameras if c.feed.failure is not None]

    def vitals(self) -> Vitals:
        """How it stands; from any thread.

        Raises:
            InternalError: The outbox is closed: it does not run, or has ended.
        """
        depth, published = self._outbox.depth(), self._publisher.state
        return Vitals(
            outbox_rows=depth.rows,
            outbox_bytes=depth.payload_bytes,
            outbox_dropped=depth.dropped,
            delivered=published.delivered,
            connected=published.connected,
            connects=published.connects,
            ticks_skipped=self._ticker.skipped,
            pictures_missing=self._recorder.pictures_dropped + self._recorder.pictures_failed,
        )

    def observe(self, observer: Observer) -> None:
        """One more observer, before the run."""
        self._observers.add(observer)

    def run(self) -> RunSummary:
        """Watch until all recordings have ended or, with a live camera, a stop is requested.

        Raises:
            VigilError: The only recording cannot be opened, the outbox cannot, or something broke;
                what had happened until then is in the outbox.
        """
        with contextlib.ExitStack() as stack:
            for job in self._jobs:
                self._cameras.append(self._open(job, stack))
            self._outbox.start()
            stack.callback(self._outbox.close)
            self._end_forgotten_events()
            self._observers.tell(lambda one: one.started([c.status() for c in self._cameras]))
            stack.callback(self._observers.tell, lambda one: one.stopped())
            self._publisher.start()
            self._recorder.start()
            try:
                while not self._stops and self._loop.turn():
                    if not self._publisher.alive:
                        raise InternalError(
                            "the publishing thread has ended", mend="see the log above"
                        )
            finally:
                self._finish_all()
            return self._summary()

    def _open(self, job: CameraJob, stack: contextlib.ExitStack) -> WatchedCamera:
        site = job.site
        feed = self._open_feed(job, stack)
        stack.callback(feed.close)
        tracker = EventTracker(
            device=self._topics.device,
            camera=job.name,
            detector=self._detector if site is None else site.detector,
            clock=self._clock,
            rules=job.rules,
        )
        view = (
            self._pipeline.new_view(job.rules)
            if site is None
            else self._pipeline.new_view(job.rules, site.statistics)
        )
        return WatchedCamera(
            name=job.name,
            feed=feed,
            view=view,
            tracker=tracker,
            clips=ClipKeeper(job.film if self._settings.media is not None else None),
            clock=self._clock,
            shape=None if site is None else site.shape,
        )

    def _open_feed(self, job: CameraJob, stack: contextlib.ExitStack) -> Feed:
        if job.source is None:
            return NoFeed()
        if isinstance(job.source, LiveInput):
            supervisor = CameraSupervisor(
                name=job.name,
                launch=job.source.launch,
                patience=job.source.patience,
                memory_max=job.source.memory_max,
                clock=self._clock,
                announce=self._announce,
            )
            supervisor.start()
            return supervisor
        try:
            source = stack.enter_context(job.source)
        except VigilError as error:
            if len(self._jobs) == 1:
                raise
            return NoFeed(error)  # the others are watched all the same
        _log.info("camera_open", camera=job.name, source=source.name, fps=source.fps)
        self._compare_rate(job.name, source.fps)
        return RecordingFeed(source, clock=self._clock, realtime=job.realtime)

    def _compare_rate(self, camera: str, fps: float) -> None:
        expected = self._settings.expected_fps
        if expected is not None and abs(fps / expected - 1.0) > _RATE_TOLERANCE:
            _log.warning("frame_rate_differs", camera=camera, fps=fps, trained_at=expected)

    def _end_forgotten_events(self) -> None:
        """Events that were open when the last run died get their end."""
        for payload in self._outbox.open_events():
            now, state = self._clock.utc(), self._clock.state()
            self._outbox.append(end_after_restart(payload, now=now, clock=state))
            _log.warning("event_ended_after_restart", id=payload["id"])

    def _sink(self, event: Event) -> None:
        """In the recorder's thread: the pictures are on the disk."""
        self._outbox.append(event.payload())
        self._observers.tell(lambda one: one.event(event))

    def _on_commit(self) -> None:
        self._publisher.wake()

    def _finish_all(self) -> None:
        self._observers.tell(lambda one: one.stopping())
        with contextlib.ExitStack() as stack:
            # Whatever fails here, the later steps are done all the same; last in, first out.
            stack.callback(self._stop_publisher)
            stack.callback(self._recorder.close)
            self._loop.finish()

    def _stop_publisher(self) -> None:
        flush_s = self._settings.flush_s
        self._publisher.stop(flush_s=min(flush_s, STOP_FLUSH_S) if self._stops else flush_s)

    def _summary(self) -> RunSummary:
        depth, published = self._outbox.depth(), self._publisher.state
        frames = sum(camera.frames for camera in self._cameras)
        first_s = self._loop.first_s
        seconds = 0.0 if first_s is None else self._loop.last_s - first_s
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
