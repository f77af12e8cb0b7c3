"""The page's thread in the daemon: keeps the page's process alive and tells it what is new.

Pictures are made only while somebody looks, at most `PICTURES_PER_S` of each camera. Whatever goes
wrong here is logged and tried again; the daemon goes on.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import cv2
import structlog

from edge.clock import Clock
from edge.events.film import small_jpeg
from edge.events.pictures import grey_of
from edge.page.board import SCORE_EVERY_S, Board
from edge.page.inbox import Inbox, Sight
from edge.page.journal import Journal
from edge.page.process import START_S, PageProcess, listen
from edge.page.settings import PageSettings, is_loopback
from edge.page.wire import Message

PICTURES_PER_S = 2.0
PICTURE_WIDTH = 960
BEAT_S = 2.0
SAVE_EVERY_S = 5.0
HUNG_S = 10.0
"""A daemon whose loop has not turned for so long is not scoring."""

_TURN_S = 0.25
_PAUSES_S = (1.0, 60.0)
_SETTLED_S = 60.0
_MENDS = {
    errno.EADDRINUSE: "another program listens there: set page.port to another number",
    errno.EADDRNOTAVAIL: "page.bind must be an address of this machine",
    errno.EACCES: "ports below 1024 need a privilege: set page.port to a larger number",
}

_log = structlog.get_logger()


class Pump:
    """Runs from `start` to `stop`.

    Args:
        settings: What the process is told.
        board: What the page shows.
        inbox: What is new.
        journal: Keeps the events; None: they are not kept.
        clock: Time.
        turned_s: When the daemon's loop has turned last, monotonic.
    """

    def __init__(
        self,
        *,
        settings: PageSettings,
        board: Board,
        inbox: Inbox,
        journal: Journal | None,
        clock: Clock,
        turned_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._board = board
        self._inbox = inbox
        self._journal = journal
        self._clock = clock
        self._turned_s = turned_s
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._process: PageProcess | None = None
        self._retry_s = 0.0
        self._pause_s = _PAUSES_S[0]
        self._began_s = 0.0
        self._complaint: str | None = None
        self._shown: dict[str, tuple[int, float]] = {}
        self._scores_s = self._beat_s = self._save_s = 0.0
        self._counts: dict[str, int] = {}
        self._unsaved = False

    @property
    def port(self) -> int | None:
        """Where the page listens; None: nowhere yet."""
        listener = self._listener
        return None if listener is None else int(listener.getsockname()[1])

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End thread and process."""
        self._stopping.set()
        self._inbox.wake()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            if self._journal is not None:
                self._board.remember(self._journal.load())
            while not self._stopping.is_set():
                self._turn_or_begin_again()
                self._inbox.wait(_TURN_S)
        finally:
            self._end()

    def _turn_or_begin_again(self) -> None:
        """A fault of ours costs the page a pause; the daemon goes on meanwhile."""
        now_s = self._clock.monotonic()
        try:
            self._turn(now_s)
        except Exception:  # noqa: BLE001  # a thread's top: without it there is no page any more
            _log.exception("page_failed")
            self._lose(now_s, "a fault of its pump")

    def _end(self) -> None:
        for message in self._inbox.messages():  # the ends of events that the stop has ended
            self._unsaved |= message["kind"] == "event"
            self._board.apply(message)
        self._save()
        if self._process is not None:
            self._process.stop()
        if self._listener is not None:
            self._listener.close()

    def _turn(self, now_s: float) -> None:
        self._keep_process(now_s)
        news = self._news(now_s)
        for message in news:  # all of them before the first is sent: sending may fail
            self._board.apply(message)
            self._unsaved |= message["kind"] == "event"
        try:
            for message in news:
                self._send(message)
            self._show_pictures(now_s)
        except OSError as error:
            self._lose(now_s, "it takes no messages" if isinstance(error, TimeoutError) else None)
        if self._unsaved and now_s - self._save_s >= SAVE_EVERY_S:
            self._save_s = now_s
            self._save()

    def _save(self) -> None:
        if self._unsaved and self._journal is not None:
            self._journal.save(self._board.events()[::-1])
        self._unsaved = False

    def _news(self, now_s: float) -> list[Message]:
        messages = self._inbox.messages()
        if now_s - self._scores_s >= SCORE_EVERY_S:
            self._scores_s = now_s
            for camera, tally in self._inbox.tallies().items():
                self._counts[camera] = self._counts.get(camera, 0) + tally.count
                score = {"camera": camera, "at": tally.at_ms, "score": round(tally.peak, 3)}
                messages.append({"kind": "score", **score})
        if now_s - self._beat_s >= BEAT_S:
            messages.append(self._beat(now_s))
        return messages

    def _beat(self, now_s: float) -> Message:
        span_s, self._beat_s = now_s - self._beat_s, now_s
        counts, self._counts = self._counts, {}
        return {
            "kind": "beat",
            "now": round(self._clock.utc().timestamp() * 1000),
            "scoring": now_s - self._turned_s() < HUNG_S,
            "rates": {camera: round(count / span_s, 1) for camera, count in counts.items()},
        }

    def _send(self, message: Message, data: bytes = b"") -> None:
        if self._process is not None:
            self._process.send(message, data)

    def _show_pictures(self, now_s: float) -> None:
        if self._process is None:
            return
        self._process.hear()
        if self._process.viewers == 0:
            return
        for camera, sight in self._inbox.sights().items():
            number, shown_s = self._shown.get(camera, (0, -1.0))
            if sight.number != number and now_s - shown_s >= 1.0 / PICTURES_PER_S:
                self._shown[camera] = (sight.number, now_s)
                message, data = self._picture(camera, sight)
                self._board.apply(message)
                self._send(message, data)

    def _picture(self, camera: str, sight: Sight) -> tuple[Message, bytes]:
        jpeg = small_jpeg(sight.bgr, PICTURE_WIDTH)
        grey, low, high = grey_of(sight.map, self._board.threshold_of(camera))
        _, png = cv2.imencode(".png", grey)
        message = {
            "kind": "picture",
            "camera": camera,
            "n": sight.number,
            "at": sight.at_ms,
            "jpeg_bytes": len(jpeg),
            "score_at_0": round(low, 4),
            "score_at_255": round(high, 4),
        }
        return message, jpeg + bytes(png)

    def _keep_process(self, now_s: float) -> None:
        process = self._process
        if process is not None:
            if process.alive:
                if now_s - self._began_s > _SETTLED_S:
                    self._pause_s = _PAUSES_S[0]
                return
            self._lose(now_s, None)
        if now_s < self._retry_s:
            return
        try:
            self._begin(now_s)
        except OSError as error:
            if self._process is not None:
                self._lose(now_s, "it does not take the board")
                return
            self._retry_s = now_s + self._next_pause()
            self._complain(error)

    def _begin(self, now_s: float) -> None:
        if self._listener is None:
            self._listener = listen(self._settings)
        settings = replace(self._settings, port=int(self._listener.getsockname()[1]))
        self._process = PageProcess(settings, self._listener)
        self._began_s, self._complaint = now_s, None
        self._shown.clear()
        self._process.send(self._board.snapshot(), patience_s=START_S)
        _log.info("page_served", url=settings.url, token=settings.token is not None)
        if not is_loopback(settings.bind) and not settings.tls:
            _log.warning(
                "page_not_encrypted",
                mend="set page.certificate_file and page.key_file, or put it behind a tunnel",
            )

    def _lose(self, now_s: float, why: str | None) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()  # a wait in this thread only
            pause_s = self._next_pause()
            self._retry_s = now_s + pause_s
            _log.warning("page_process_lost", why=why or "it has ended", again_in_s=pause_s)

    def _next_pause(self) -> float:
        pause_s, self._pause_s = self._pause_s, min(2.0 * self._pause_s, _PAUSES_S[1])
        return pause_s

    def _complain(self, error: OSError) -> None:
        """Say why there is no page, once."""
        text = error.strerror or str(error)
        if text != self._complaint:
            self._complaint = text
            where = self._settings.url
            mend = _MENDS.get(error.errno or 0, "it is tried again by itself")
            _log.error("page_not_served", error=text, where=where, mend=mend)
