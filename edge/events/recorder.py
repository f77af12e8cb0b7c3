"""The thread between scoring and the outbox: writes the pictures, then hands the message on.

A message leaves only when its picture lies on the disk, because subscribers drop alarms whose
picture is missing. Messages keep their order. The queue is bounded: when it is full, the picture of
an `update` is left out, and everything else waits.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from edge.events.event import Event, StoredPicture
from edge.events.fault import CameraFault
from edge.events.film import FilmFrame, write_film
from edge.events.pictures import write_heatmap, write_snapshot
from edge.events.tracker import Peak, Report
from engines.errors import VigilError

QUEUE_LENGTH = 32

Message = Report | CameraFault

_log = structlog.get_logger()


@dataclass(frozen=True)
class _Pictures:
    """The newest pictures of an event."""

    snapshot: StoredPicture | None
    heatmap: StoredPicture | None


class Recorder:
    """Writes pictures and passes events on, in one thread of its own.

    Args:
        folder: Where the pictures go; None: no pictures.
        sink: Takes each finished message; may block.
    """

    def __init__(self, *, folder: Path | None, sink: Callable[[Event | CameraFault], None]) -> None:
        self._folder = folder
        self._sink = sink
        self._queue: queue.Queue[Message | None] = queue.Queue(QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._pictures: dict[str, _Pictures] = {}
        self._failure: BaseException | None = None
        self.pictures_dropped = 0
        """Pictures of updates that were left out because the disk did not keep up."""
        self.pictures_failed = 0
        """Pictures that could not be written."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, message: Message) -> None:
        """Queue a report, or a fault that has no picture; blocks while the queue is full.

        Raises:
            VigilError: The thread has failed.
        """
        if isinstance(message, Report) and message.event.phase == "update" and self._queue.full():
            self.pictures_dropped += 1
            message = replace(message, peak=None)
        while True:
            self.check()
            try:
                self._queue.put(message, timeout=0.5)
            except queue.Full:
                continue
            return

    def close(self) -> None:
        """Finish what is queued, then end the thread.

        Raises:
            VigilError: The thread has failed.
        """
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.1)
            except queue.Full:
                continue
            self._thread.join()
        self.check()

    def check(self) -> None:
        """See that the thread works, before a message is lost to one that does not.

        Raises:
            VigilError: The thread has failed.
        """
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            while (message := self._queue.get()) is not None:
                if isinstance(message, Report):
                    self._sink(self._with_pictures(message))
                else:
                    self._sink(message)
        except BaseException as failure:  # noqa: BLE001  # a thread's top: kept, raised to the caller
            self._failure = failure

    def _with_pictures(self, report: Report) -> Event:
        event = report.event
        if report.peak is not None and self._folder is not None:
            written = self._write(self._folder, event, report.peak)
            if written is not None:
                self._pictures[event.id] = written
        known = self._pictures.get(event.id, _Pictures(None, None))
        if event.phase == "end":
            self._pictures.pop(event.id, None)
        clip = self._film(event, report.film)
        return replace(event, snapshot=known.snapshot, heatmap=known.heatmap, clip=clip)

    def _film(self, event: Event, frames: tuple[FilmFrame, ...]) -> StoredPicture | None:
        if self._folder is None or not frames:
            return None
        try:
            return write_film(self._folder, event.id, frames)
        except VigilError as error:
            self._note_failure(event, error)
            return None

    def _write(self, folder: Path, event: Event, peak: Peak) -> _Pictures | None:
        stem = event.id if event.rev == 1 else f"{event.id}-{event.rev}"
        height, width = peak.frame.bgr.shape[:2]
        try:
            return _Pictures(
                snapshot=write_snapshot(folder, stem, peak.frame.bgr),
                heatmap=write_heatmap(
                    folder,
                    stem,
                    peak.scored.map,
                    threshold=event.threshold,
                    size=(height, width),
                ),
            )
        except VigilError as error:
            self._note_failure(event, error)
            return None

    def _note_failure(self, event: Event, error: VigilError) -> None:
        """The alarm is worth more than its picture: it goes out without one."""
        self.pictures_failed += 1
        _log.warning("picture_not_written", id=event.id, error=str(error))
