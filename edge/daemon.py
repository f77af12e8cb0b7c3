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
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from edge.announcer import Announcer
from edge.camera_group import CameraGroup
from edge.clock import Clock
from edge.daemon_settings import CameraJob, DaemonSettings, Scorer
from edge.events.event import Event, end_after_restart
from edge.events.fault import CameraFault
from edge.events.recorder import Recorder
from edge.events.tracker import Detector
from edge.home_assistant import HomeAssistant
from edge.loop import Loop
from edge.observer import CameraStatus, Observer, Observers
from edge.publish.outbox import Outbox
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import Publisher
from edge.run_summary import RunSummary
from edge.ticks import Ticker
from edge.vitals import Vitals
from engines.errors import DataError, InternalError, VigilError

STOP_FLUSH_S = 3.0  # a person or systemd waits; what is left goes out at the next start
_WAIT_S = 0.05  # while no camera is at work: one makes room for another, or all are off

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
        read_again: Gives the cameras as the configuration names them now; None: it cannot be read.
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
        read_again: Callable[[], Sequence[CameraJob]] | None = None,
    ) -> None:
        self._settings = settings
        self._topics = settings.broker.topics
        self._jobs = tuple(cameras)
        self._pipeline = pipeline
        self._detector = detector
        self._clock = clock
        self._outbox = OutboxThread(outbox, on_commit=self._on_commit)
        self._publisher = Publisher(settings=settings.broker, outbox=self._outbox, clock=clock)
        self._recorder = Recorder(
            folder=settings.media, sink=self._sink, media_max=settings.media_max
        )
        self._observers = Observers([*self._tellers(outbox), *observers])
        # Plain, because it is set in signal handlers: a lock taken there could be held below.
        self._stops = 0
        self._announce = threading.Event()
        self._reloads = self._reloads_done = 0
        self._read_again = read_again
        self._group = CameraGroup(
            settings=settings,
            pipeline=pipeline,
            detector=detector,
            device=self._topics.device,
            clock=clock,
            announce=self._announce,
        )
        self._ticker = Ticker(settings.analysis_fps, clock=clock)
        self._loop = Loop(
            cameras=self._group.at_work,
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

    def request_reload(self) -> None:
        """Read the configuration again soon. For signal handlers."""
        self._reloads += 1

    @property
    def failures(self) -> list[VigilError]:
        """Why recordings were lost."""
        return self._group.failures

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
            stack.callback(self._group.close)
            self._group.open(self._jobs)
            self._outbox.start()
            stack.callback(self._outbox.close)
            self._end_forgotten_events()
            self._observers.tell(lambda one: one.started(self._group.statuses()))
            stack.callback(self._observers.tell, lambda one: one.stopped())
            self._publisher.start()
            self._recorder.start()
            try:
                while not self._stops and self._turn():
                    pass
            finally:
                self._finish_all()
            return self._summary()

    def _turn(self) -> bool:
        """One turn of the loop; False: all is over."""
        if self._reloads != self._reloads_done:
            self._reload()
        if self._group.turn():
            self._observers.tell(lambda one: one.regrouped(self._group.statuses()))
        try:
            going_on = self._loop.turn()
        except DataError as error:
            if not self._group.live:
                raise
            # Its code says "restart it", and that of bad data does not: what has scored cameras
            # until now can do so again, and nobody is there at night to start it.
            raise InternalError(
                f"scoring broke: {error.what}", where=error.where, mend=error.mend
            ) from error
        self._recorder.check()
        if not self._publisher.alive:
            raise InternalError("the publishing thread has ended", mend="see the log above")
        # A service whose cameras are all off waits for the reload that switches one on.
        off = self._read_again is not None and self._group.switched_off
        waiting = self._group.changing or off
        if not going_on and waiting:
            self._announce.wait(_WAIT_S)
        return going_on or waiting

    def _reload(self) -> None:
        """Have the cameras that the configuration names now; a wrong one changes nothing."""
        self._reloads_done = self._reloads
        if self._read_again is None:
            _log.warning("config_not_read_again", mend="only a configuration file can be")
            return
        self._observers.tell(lambda one: one.reloading())
        try:
            jobs = self._read_again()
            messages, former = self._group.exchange(jobs)
        except VigilError as error:
            refusal = error
            _log.error("config_refused", error=str(error))
            self._observers.tell(lambda one: one.config_refused(refusal))
            return
        _log.info("config_applied", cameras=[job.name for job in jobs])
        self._loop.hand_on(messages)
        for status in former:
            self._observers.tell(partial(_tell_change, status))
        if not self._group.changing:
            self._observers.tell(lambda one: one.regrouped(self._group.statuses()))

    def _end_forgotten_events(self) -> None:
        """Events that were open when the last run died get their end."""
        for payload in self._outbox.open_events():
            now, state = self._clock.utc(), self._clock.state()
            self._outbox.append(end_after_restart(payload, now=now, clock=state))
            _log.warning("event_ended_after_restart", id=payload["id"])

    def _sink(self, message: Event | CameraFault) -> None:
        """In the recorder's thread: the pictures are on the disk."""
        self._outbox.append(message.payload())
        if isinstance(message, CameraFault):
            self._observers.tell(lambda one: one.fault(message))
        else:
            self._observers.tell(lambda one: one.event(message))

    def _on_commit(self) -> None:
        self._publisher.wake()

    def _finish_all(self) -> None:
        with contextlib.ExitStack() as stack:
            # Whatever fails here, the later steps are done all the same; last in, first out.
            stack.callback(self._stop_publisher)
            stack.callback(self._recorder.close)
            stack.callback(self._group.end)  # capture processes end while messages are delivered
            stack.callback(self._loop.finish)
            self._observers.tell(lambda one: one.stopping())

    def _stop_publisher(self) -> None:
        flush_s = self._settings.flush_s
        if self._stops:
            flush_s = min(flush_s, STOP_FLUSH_S) if self._stops == 1 else 0.0
        self._publisher.stop(flush_s=flush_s)

    def _summary(self) -> RunSummary:
        depth, published = self._outbox.depth(), self._publisher.state
        cameras = self._group.summaries()
        frames = sum(camera.frames for camera in cameras.values())
        first_s = self._loop.first_s
        seconds = 0.0 if first_s is None else self._loop.last_s - first_s
        return RunSummary(
            frames=frames,
            seconds=seconds,
            fps=frames / seconds if seconds > 0 else 0.0,
            events=sum(camera.events for camera in cameras.values()),
            delivered=published.delivered,
            outbox_left=depth.rows,
            messages_dropped=depth.dropped,
            pictures_missing=self._recorder.pictures_dropped + self._recorder.pictures_failed,
            broker=str(self._settings.broker.address),
            broker_reached=published.connects > 0,
            stopped=self._stops > 0,
            cameras=cameras,
        )


def _tell_change(status: CameraStatus, observer: Observer) -> None:
    observer.camera_changed(status)
