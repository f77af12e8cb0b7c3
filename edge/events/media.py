"""The folder of the events' pictures and clips: it stays within its bound, the oldest go first.

Rules:

1. Only files with names of ours are counted and removed; whatever else lies there is left alone.
2. All files of an event go together. Those of the newest event and of open ones stay in any case.
3. They also go while the disk has less than `KEEP_FREE_BYTES`: an event is worth more than the
   pictures of old ones, and the outbox needs the room.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Container
from pathlib import Path

import structlog

MEDIA_MAX = 2 * 2**30
KEEP_FREE_BYTES = 200 * 2**20
# Identifier of the event, number of the message from the second on, kind.
MEDIA_NAME = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})(?:-[0-9]{1,6})?"
    r"\.(jpg|png|webm)"
)

_log = structlog.get_logger()


class MediaFolder:
    """Keeps the folder small; used from one thread.

    Args:
        folder: It need not be there yet.
        max_bytes: Of all files together.
        keep_free_bytes: On its disk.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int = MEDIA_MAX, keep_free_bytes: int = KEEP_FREE_BYTES
    ) -> None:
        self.path = folder
        self._max = max_bytes
        self._keep_free = keep_free_bytes
        self._events: dict[str, dict[str, int]] | None = None
        self._bytes = 0

    def note(self, name: str, size: int) -> None:
        """A file was written; the newest event is the one that was noted last."""
        match = MEDIA_NAME.fullmatch(name)
        if match is None:
            return
        events = self._known()
        files = events.pop(match[1], {})
        self._bytes += size - files.get(name, 0)
        events[match[1]] = {**files, name: size}

    def make_room(self, *, keep: Container[str] = ()) -> None:
        """Remove the oldest events' files until folder and disk are as they should be.

        Args:
            keep: Identifiers of events that are open.
        """
        events, before = list(self._known()), self._bytes
        for event in events[:-1]:
            if self._bytes <= self._max and not self._disk_is_low():
                break
            if event not in keep:
                self._remove(event)
        removed = before - self._bytes
        if removed:
            _log.info("media_removed", bytes=removed, left=self._bytes, folder=str(self.path))

    def _known(self) -> dict[str, dict[str, int]]:
        """Files by event, oldest first. Identifiers sort by time."""
        if self._events is None:
            self._events = {}
            for name, size in sorted(_files_in(self.path)):
                match = MEDIA_NAME.fullmatch(name)
                if match is not None:
                    self._events.setdefault(match[1], {})[name] = size
                    self._bytes += size
        return self._events

    def _remove(self, event: str) -> None:
        for name, size in self._known().pop(event).items():
            self._bytes -= size
            with contextlib.suppress(OSError):  # gone already, or not ours to remove
                (self.path / name).unlink()

    def _disk_is_low(self) -> bool:
        try:
            state = os.statvfs(self.path)
        except OSError:
            return False
        return state.f_bavail * state.f_frsize < self._keep_free


def _files_in(folder: Path) -> list[tuple[str, int]]:
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    found.append((entry.name, entry.stat(follow_symlinks=False).st_size))
    return found
