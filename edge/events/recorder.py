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
from edge.events.media import MEDIA_MAX, MediaFolder
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
        media_max: Bytes of all pictures and clips in the folder; beyond it the oldest go.
    """

    def __init__(
        self,
        *,
        folder: Path | None,
        sink: Callable[[Event | CameraFault], None],
        media_max: int = MEDIA_MAX,
    ) -> None:
        self._media = None if folder is None else MediaFolder(folder, max_bytes=media_max)
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
        if report.peak is not None and self._media is not None:
            written = self._write(self._media, event, report.peak)
            if written is not None:
                self._pictures[event.id] = written
        known = self._pictures.get(event.id, _Pictures(None, None))
        if event.phase == "end":
            self._pictures.pop(event.id, None)
        clip = self._film(event, report.film)
        return replace(event, snapshot=known.snapshot, heatmap=known.heatmap, clip=clip)

    def _film(self, event: Event, frames: tuple[FilmFrame, ...]) -> StoredPicture | None:
        if self._media is None or not frames:
            return None
        self._media.make_room(keep=self._pictures)
        try:
            film = write_film(self._media.path, event.id, frames)
        except VigilError as error:
            self._note_failure(event, error)
            return None
        if film is not None:
            self._media.note(film.name, film.size)
        return film

    def _write(self, media: MediaFolder, event: Event, peak: Peak) -> _Pictures | None:
        stem = event.id if event.rev == 1 else f"{event.id}-{event.rev}"
        height, width = peak.frame.bgr.shape[:2]
        media.make_room(keep=self._pictures)
        try:
            snapshot = write_snapshot(media.path, stem, peak.frame.bgr)
            media.note(snapshot.name, snapshot.size)
            heatmap = write_heatmap(
                media.path,
                stem,
                peak.scored.map,
                threshold=event.threshold,
                size=(height, width),
            )
            media.note(heatmap.name, heatmap.size)
        except VigilError as error:
            self._note_failure(event, error)
            return None
        return _Pictures(snapshot=snapshot, heatmap=heatmap)

    def _note_failure(self, event: Event, error: VigilError) -> None:
        """The alarm is worth more than its picture: it goes out without one."""
        self.pictures_failed += 1
        _log.warning("picture_not_written", id=event.id, error=str(error))
