"""Keeps one camera going: a thread that starts, hears and ends its capture processes.

What to do is decided by `edge.capture.camera_state`; this module does it. The daemon's loop only
takes the newest picture and the changes of state, and waits for neither.
"""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from collections.abc import Callable

import structlog

from edge.capture.camera_state import CameraMachine, Change, Patience
from edge.capture.frame_ring import FrameMeta
from edge.capture.process import Capture, News
from edge.clock import Clock
from edge.frames import Frame
from engines.errors import VigilError

POLL_S = 0.1
DARK_LUMA, DARK_SD, DARK_S = 8.0, 3.0, 30.0
MEMORY_MAX = 512 * 2**20
_MEMORY_EVERY_S = 10.0


class CameraSupervisor:
    """The feed of one live camera (see `edge.feeds.Feed`): the newest frame, never a queue.

    A frame's index runs on over reconnects, and so does its time, which counts from the first frame
    of all. `epoch` rises where a frame does not continue the one before: a new capture process, or
    a gap.

    Args:
        name: For logs.
        launch: Starts a capture process.
        patience: When to lose it.
        clock: Time.
        announce: Set whenever there is something new.
        memory_max: Bytes above which a capture process is replaced as soon as `busy` is False, or
            at once above twice that.
        machine: The states; made from `patience` if not given.
    """

    live = True
    failure: VigilError | None = None

    def __init__(
        self,
        *,
        name: str,
        launch: Callable[[], Capture],
        patience: Patience,
        clock: Clock,
        announce: threading.Event,
        memory_max: int = MEMORY_MAX,
        machine: CameraMachine | None = None,
    ) -> None:
        self._launch = launch
        self._clock = clock
        self._announce = announce
        self._memory_max = memory_max
        self._machine = machine or CameraMachine(patience)
        self._thread = threading.Thread(target=self._work, name=f"camera {name}", daemon=True)
        self._closing = threading.Event()
        self._lock = threading.Lock()  # over everything below
        self._capture: Capture | None = None
        self._attempt = 0
        self._changes: list[Change] = []
        self._taken = 0
        self._base = 0  # index of the first frame of this attempt
        self._first_s: float | None = None
        self._gaps = 0
        self._taken_gap = (0, 0)
        self._skipped_before = self._skipped_now = 0
        self._dark_since_s: float | None = None
        self._memory_at_s = 0.0
        self._log = structlog.get_logger().bind(camera=name)
        self.epoch = 0
        self.dropped = 0
        self.finished = False
        self.busy = False
        """An event is open: set by the daemon, so that nothing is replaced without need."""
        self.losses: Counter[str] = Counter()
        """How often the camera was lost, by reason."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def skipped(self) -> int:
        """Frames that could not be decoded."""
        return self._skipped_before + self._skipped_now

    @property
    def fps(self) -> float | None:
        """Observed frames per second."""
        return self._machine.fps

    @property
    def flags(self) -> list[str]:
        """What else is known of the picture: `dark`."""
        since = self._dark_since_s
        dark = since is not None and self._clock.monotonic() - since >= DARK_S
        return ["dark"] if dark else []

    def drain(self) -> list[Change]:
        """The changes of state since the last call, oldest first."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes

    def take(self) -> Frame | None:
        """The newest frame, once, while the camera is live."""
        with self._lock:
            if self._capture is None or self._machine.state != "live":
                return None
            seen = self._capture.peek()
            if seen is None or seen.number <= self._taken:
                return None
            newest = self._capture.newest()
            if newest is None:
                return None
            meta, picture = newest
            self.dropped += meta.number - self._taken - 1
            self._taken = meta.number
            self._first_s = meta.mono_s if self._first_s is None else self._first_s
            if self._taken_gap != (self._attempt, self._gaps):
                self._taken_gap = (self._attempt, self._gaps)
                self.epoch += 1
            return Frame(
                index=self._base + meta.number - 1,
                time_s=meta.mono_s - self._first_s,
                bgr=picture,
                captured_at=datetime.datetime.fromtimestamp(meta.wall_s, datetime.timezone.utc),
            )

    def due_s(self) -> float | None:
        """A new frame is announced."""
        return None

    def end(self) -> None:
        """Begin to end; does not wait."""
        self._closing.set()

    @property
    def ended(self) -> bool:
        """Thread and capture process are gone."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End the capture process and the thread."""
        self.end()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn_or_begin_again()
        finally:
            self._end_capture()
            self._announce.set()

    def _turn_or_begin_again(self) -> None:
        """A fault of ours costs the camera a pause, as a fault of its own does, and never more."""
        try:
            self.turn(POLL_S)
        except Exception:  # noqa: BLE001  # a thread's top: a camera that nobody watches is worse
            self._log.exception("supervisor_failed")
            self._machine.failed(self._clock.monotonic(), "internal_error")
            self._closing.wait(POLL_S)

    def turn(self, timeout_s: float) -> None:
        """Let time pass, do what follows from it, then wait for news; the body of the thread."""
        if self._machine.attempt == 0:
            self._machine.start(self._clock.monotonic())
        self._machine.tick(self._clock.monotonic())
        self._reconcile()
        self._share(picture=False)
        capture = self._capture
        if capture is None:
            self._closing.wait(timeout_s)
            news = News()
        else:
            news = capture.news(timeout_s)
            if news.picture and (meta := capture.peek()) is not None:
                self._note(meta)
        if news.failure is not None:
            self._log.warning("capture_failed", error=news.failure, mend=news.mend)
            reason = "refused" if news.refused else "capture_failed"
            self._machine.failed(self._clock.monotonic(), reason, refused=news.refused)
            if not self._machine.capturing:  # or one that nobody could kill would be told for ever
                self._end_capture()
        self._look_at_memory()
        self._share(picture=news.picture)

    def _note(self, meta: FrameMeta) -> None:
        now_s = self._clock.monotonic()
        self._skipped_now = meta.skipped
        if meta.luma_mean >= DARK_LUMA or meta.luma_sd >= DARK_SD:
            self._dark_since_s = None
        elif self._dark_since_s is None:
            self._dark_since_s = now_s
        self._machine.frame(
            now_s,
            number=meta.number,
            still_s=meta.still_s,
            changes=meta.changes,
            key_frame_s=meta.key_frame_s,
        )

    def _reconcile(self) -> None:
        """Have the capture process that the machine wants, or none."""
        machine = self._machine
        undead = machine.state == "quarantined" and machine.reason == "unkillable"
        outdated = not machine.capturing or self._attempt != machine.attempt
        if self._capture is not None and outdated and not undead and not self._end_capture():
            self._log.error("capture_unkillable")
            machine.unkillable(self._clock.monotonic())
        if machine.capturing and self._capture is None:
            self._begin_capture()

    def _begin_capture(self) -> None:
        try:
            capture = self._launch()
        except OSError as error:
            self._attempt = self._machine.attempt
            self._log.error("capture_not_started", error=str(error))
            self._machine.failed(self._clock.monotonic(), "no_process")
            return
        with self._lock:
            self._capture = capture
            self._attempt = self._machine.attempt

    def _end_capture(self) -> bool:
        """End the running process, if any; False if it does not die."""
        with self._lock:
            capture, self._capture = self._capture, None
            if capture is None:
                return True
            last = capture.peek()
            self._base += 0 if last is None else last.number
            self._taken = 0
            self._skipped_before += self._skipped_now
            self._skipped_now = 0
        if capture.stop():
            return True
        self._capture = capture
        return False

    def _look_at_memory(self) -> None:
        now_s = self._clock.monotonic()
        if self._capture is None or now_s < self._memory_at_s:
            return
        self._memory_at_s = now_s + _MEMORY_EVERY_S
        used = self._capture.resident_bytes()
        if used > self._memory_max * (2 if self.busy else 1):
            self._log.warning("capture_too_large", bytes=used, limit=self._memory_max)
            self._machine.renew(now_s, "memory")

    def _share(self, *, picture: bool) -> None:
        changes = self._machine.drain()
        for change in changes:
            self._log.info("camera_state", state=change.state, reason=change.reason)
            if change.state == "lost":
                self.losses[change.reason or "unknown"] += 1
            if change.state == "stale":
                self._gaps += 1
        if changes:
            with self._lock:
                self._changes += changes
        if changes or picture:
            self._announce.set()
