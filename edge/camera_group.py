"""The cameras of a running daemon: opened, exchanged when the configuration was read again, closed.

An exchange touches only what is another: a camera with the same job as before goes on without
losing a frame. One that has changed or gone ends its events; its successor begins when its capture
process has ended, because two processes cannot hold one video device. Nobody waits for that here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from edge.capture.supervisor import CameraSupervisor
from edge.clock import Clock
from edge.daemon_settings import CameraJob, DaemonSettings, LiveInput, Scorer
from edge.events.clips import ClipKeeper
from edge.events.fault import FaultTracker
from edge.events.recorder import Message
from edge.events.tracker import Detector, EventTracker
from edge.feeds import Feed, NoFeed, RecordingFeed
from edge.observer import CameraStatus
from edge.run_summary import CameraSummary
from edge.watched import CameraView, WatchedCamera
from engines.errors import VigilError

# At another frame rate the same motion gives other flows and the window spans another time.
_RATE_TOLERANCE = 0.2

_log = structlog.get_logger()


@dataclass
class _Post:
    """A job, its memory in the pipeline, and its camera once it is at work."""

    job: CameraJob
    view: CameraView
    camera: WatchedCamera | None = None
    sources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def feed(self) -> Feed:
        """Of a camera at work."""
        assert self.camera is not None
        return self.camera.feed


class CameraGroup:
    """All cameras.

    Args:
        settings: The daemon's.
        pipeline: Gives each camera its memory.
        detector: What stands behind the scores of cameras that have learned nothing on site.
        device: For messages.
        clock: Time.
        announce: Set by feeds that have something new.
    """

    def __init__(
        self,
        *,
        settings: DaemonSettings,
        pipeline: Scorer,
        detector: Detector,
        device: str,
        clock: Clock,
        announce: threading.Event,
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._detector = detector
        self._device = device
        self._clock = clock
        self._announce = announce
        self.at_work: list[WatchedCamera] = []
        """Changed in place, and only between two turns of the loop."""
        self._posts: list[_Post] = []
        self._leaving: list[_Post] = []
        self._past: dict[str, CameraSummary] = {}

    @property
    def changing(self) -> bool:
        """Cameras are still ending, or waiting for others that do."""
        return bool(self._leaving) or any(post.camera is None for post in self._posts)

    @property
    def switched_off(self) -> bool:
        """All of them, by the configuration."""
        return all(post.job.source is None for post in self._posts)

    @property
    def live(self) -> bool:
        """There are cameras, and not recordings only."""
        return any(camera.feed.live for camera in self.at_work)

    @property
    def failures(self) -> list[VigilError]:
        """Why recordings were lost."""
        return [c.feed.failure for c in self.at_work if c.feed.failure is not None]

    def statuses(self) -> list[CameraStatus]:
        """How the cameras at work stand."""
        return [camera.status() for camera in self.at_work]

    def summaries(self) -> dict[str, CameraSummary]:
        """What each has done, former ones of its name included."""
        found = dict(self._past)
        for camera in self.at_work:
            found[camera.name] = _joined(found.get(camera.name), camera.summary())
        return found

    def open(self, jobs: Sequence[CameraJob]) -> None:
        """Begin.

        Raises:
            VigilError: The only recording cannot be opened, or a site calibration does not fit.
        """
        for post in [_Post(job, self._view_of(job)) for job in jobs]:
            self._posts.append(post)
            self._begin(post, alone=len(jobs) == 1)
        self._tell_if_off()

    def exchange(self, jobs: Sequence[CameraJob]) -> tuple[list[Message], list[CameraStatus]]:
        """Have these cameras from now on.

        Returns:
            The messages that follow from it, and how those stand now that were at work.

        Raises:
            VigilError: A site calibration does not fit; then nothing has changed.
        """
        kept = {post.job.name: post for post in self._posts}
        posts = []
        for job in jobs:
            known = kept.get(job.name)
            same = known is not None and job.key is not None and known.job.key == job.key
            posts.append(known if known and same else _Post(job, self._view_of(job)))
        messages: list[Message] = []
        former: list[CameraStatus] = []
        staying = {id(post) for post in posts}
        for post in self._posts:
            if id(post) not in staying and post.camera is not None:
                messages += self._dismiss(post, post.camera)
                former.append(post.camera.status())
        self._posts = posts
        self._tell_if_off()
        return messages, former

    def turn(self) -> bool:
        """Begin those who can; whether the set of cameras is another now, and complete."""
        if not self.changing:
            return False
        for post in [one for one in self._leaving if one.feed.ended]:
            self._close(post)
            self._leaving.remove(post)
        busy = {post.job.name for post in self._leaving}
        for post in self._posts:
            if post.camera is None and post.job.name not in busy:
                self._begin(post, alone=False)
        return not self.changing

    def end(self) -> None:
        """All shall end; waits for none of them."""
        for post in self._posts:
            if post.camera is not None:
                post.feed.end()

    def close(self) -> None:
        """Wait until all have ended."""
        self.end()  # first all of them: one that hangs must not hold up the ends of the others
        for post in [*self._posts, *self._leaving]:
            self._close(post)

    def _tell_if_off(self) -> None:
        if self.switched_off:
            _log.warning("no_camera_on")

    def _dismiss(self, post: _Post, camera: WatchedCamera) -> list[Message]:
        messages = [] if camera.over else camera.retire_for_another()
        self._past[camera.name] = _joined(self._past.get(camera.name), camera.summary())
        self.at_work.remove(camera)
        camera.feed.end()
        self._leaving.append(post)
        return messages

    def _close(self, post: _Post) -> None:
        if post.camera is not None:
            post.camera.feed.close()
        post.sources.close()

    def _view_of(self, job: CameraJob) -> CameraView:
        site = job.site
        new: Callable[..., CameraView] = self._pipeline.new_view
        return new(job.rules) if site is None else new(job.rules, site.statistics)

    def _begin(self, post: _Post, *, alone: bool) -> None:
        job, site = post.job, post.job.site
        detector = self._detector if site is None else site.detector
        live = job.source if isinstance(job.source, LiveInput) else None
        post.camera = WatchedCamera(
            name=job.name,
            feed=self._open_feed(post, alone=alone),
            view=post.view,
            tracker=EventTracker(
                device=self._device,
                camera=job.name,
                detector=detector,
                clock=self._clock,
                rules=job.rules,
            ),
            faults=FaultTracker(device=self._device, camera=job.name, clock=self._clock),
            clips=ClipKeeper(job.film if self._settings.media is not None else None),
            clock=self._clock,
            shape=None if site is None else site.shape,
            threshold=detector.alarm.threshold,
            budget=detector.budget,
            patience=None if live is None else live.patience,
        )
        self.at_work.append(post.camera)

    def _open_feed(self, post: _Post, *, alone: bool) -> Feed:
        job = post.job
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
            source = post.sources.enter_context(job.source)
        except VigilError as error:
            if alone:
                raise
            return NoFeed(error)  # the others are watched all the same
        _log.info("camera_open", camera=job.name, source=source.name, fps=source.fps)
        self._compare_rate(job.name, source.fps)
        return RecordingFeed(source, clock=self._clock, realtime=job.realtime)

    def _compare_rate(self, camera: str, fps: float) -> None:
        expected = self._settings.expected_fps
        if expected is not None and abs(fps / expected - 1.0) > _RATE_TOLERANCE:
            _log.warning("frame_rate_differs", camera=camera, fps=fps, trained_at=expected)


def _joined(before: CameraSummary | None, now: CameraSummary) -> CameraSummary:
    return now if before is None else before.plus(now)
