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
_AFTERWARDS = 0.95  # of the bound, once it was reached
# Identifier of the event, number of the message from the second on, kind.
MEDIA_NAME = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})(?:-[0-9]{1,6})?"
    r"\.(jpg|png|webm)"
)

_log = structlog.get_logger()


class MediaFolder:
    """Keeps the folder small; used from one thread. It holds one number, not a list that grows.

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
        self._bytes: int | None = None
        self._newest = ""

    def note(self, name: str, size: int) -> None:
        """A file was written; the newest event is the one that was noted last."""
        match = MEDIA_NAME.fullmatch(name)
        if match is None:
            return
        self._newest = match[1]
        # One that was written again counts twice until the folder is read again.
        self._bytes = None if self._bytes is None else self._bytes + size

    def make_room(self, *, keep: Container[str] = ()) -> None:
        """Remove the oldest events' files until folder and disk are as they should be.

        Args:
            keep: Identifiers of events that are open.
        """
        if self._bytes is not None and self._bytes <= self._max and not self._disk_is_low():
            return
        events = self._events()
        before = self._bytes = sum(sum(files.values()) for files in events.values())
        # Some more than need be, so that the folder is not read again for the next picture.
        aim = self._max if before <= self._max else round(self._max * _AFTERWARDS)
        newest = self._newest or next(reversed(events), "")
        for event, files in events.items():
            if self._bytes <= aim and not self._disk_is_low():
                break
            if event == newest or event in keep:
                continue
            for name, size in files.items():
                self._bytes -= size
                with contextlib.suppress(OSError):  # gone already, or not ours to remove
                    (self.path / name).unlink()
        removed = before - self._bytes
        if removed:
            _log.info("media_removed", bytes=removed, left=self._bytes, folder=str(self.path))

    def _events(self) -> dict[str, dict[str, int]]:
        """Files and their bytes by event, oldest first: identifiers sort by time."""
        events: dict[str, dict[str, int]] = {}
        for name, size in sorted(_files_in(self.path)):
            match = MEDIA_NAME.fullmatch(name)
            if match is not None:
                events.setdefault(match[1], {})[name] = size
        return events

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
