"""The events' pictures and clips: only names that we give, only plain files in their folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.events.media import MEDIA_NAME

_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webm": "video/webm"}
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
_CHUNK = 64 * 1024


@dataclass
class MediaFile:
    """An open file; `chunks` closes it."""

    descriptor: int
    size: int
    type: str

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)

    def chunks(self, first: int, end: int) -> Iterator[bytes]:
        """Bytes `first` to before `end`. From a local disk, so reading does not wait for long."""
        try:
            while first < end:
                data = os.pread(self.descriptor, min(_CHUNK, end - first), first)
                if not data:
                    return
                first += len(data)
                yield data
        finally:
            self.close()


def open_media(folder: Path, name: str) -> MediaFile | None:
    """Open a picture or clip; None if that is not the name of one, or it is not there.

    The folder is opened first and the name looked up in it without following links, so no name and
    no link leads elsewhere.
    """
    match = MEDIA_NAME.fullmatch(name)
    if match is None:
        return None
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=inside)
    except OSError:
        return None
    finally:
        os.close(inside)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    return MediaFile(descriptor, status.st_size, _TYPES[match[2]])


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range that a `Range` header asks for, as (first, end); None: all of it.

    Raises:
        ValueError: It lies outside of the file.
    """
    match = None if header is None else _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, end = max(0, size - int(match[2])), size
    else:
        first, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if first >= end:
        raise ValueError("no such range")
    return first, end
