"""Motion JPEG over HTTP as bytes: a multipart stream in, pictures out. No socket here.

Cameras write such streams in many ways: with and without Content-Length, with a wrong one, with the
boundary's dashes in its name or not. So a part ends where its length says, or else at the next
boundary; whatever does not fit is dropped up to the next boundary. Memory is bounded for any input.
"""

from __future__ import annotations

import re

MAX_PART = 16 * 2**20
MAX_HEAD = 8 * 2**10

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$")
_BOUNDARY = re.compile(r'(?i)boundary="?([^";,\s]+)"?')


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names; None: it is no multipart stream.

    >>> boundary_of('multipart/x-mixed-replace; boundary="--cam"')
    b'--cam'
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/") or found is None:
        return None
    # Written with its dashes by some cameras; the shorter form is found in both kinds of stream.
    name = found[1].lstrip("-")
    return b"--" + name.encode("latin-1", "replace") if name else None


class MultipartReader:
    """Cuts one stream into its parts.

    Args:
        boundary: As `boundary_of` gives it.
    """

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._buffer = bytearray()
        self._length: int | None = None
        self._in_body = False
        self._searched = 0
        self.dropped = 0
        """Parts that were too long or had too long a head."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; the bodies of the parts that are whole now."""
        self._buffer += data
        parts: list[bytes] = []
        while self._step(parts):
            pass
        return parts

    def _step(self, parts: list[bytes]) -> bool:
        """Go one step on; False: more bytes are needed."""
        return self._read_body(parts) if self._in_body else self._read_head()

    def _read_head(self) -> bool:
        buffer = self._buffer
        start = buffer.find(self._boundary)
        if start < 0:
            # The boundary may have begun in the last bytes.
            del buffer[: max(0, len(buffer) - len(self._boundary) + 1)]
            return False
        end = _HEAD_END.search(buffer, start)
        if end is None:
            del buffer[:start]
            if len(buffer) <= MAX_HEAD:
                return False
            self._drop(len(self._boundary))
            return True
        length = _LENGTH.search(bytes(buffer[start : end.end()]))
        self._length = None if length is None else int(length[1])
        del buffer[: end.end()]
        self._in_body, self._searched = True, 0
        if self._length is not None and self._length > MAX_PART:
            self._drop(0)
        return True

    def _read_body(self, parts: list[bytes]) -> bool:
        buffer, end = self._buffer, self._length
        if end is None:
            found = buffer.find(self._boundary, self._searched)
            self._searched = max(0, len(buffer) - len(self._boundary) + 1)
            end = found if found >= 0 else None
        if end is None:
            if len(buffer) <= MAX_PART:
                return False
            self._drop(len(buffer) - len(self._boundary))
            return True
        if len(buffer) < end:
            return False
        parts.append(bytes(buffer[:end]))
        del buffer[:end]
        self._in_body = False
        return True

    def _drop(self, count: int) -> None:
        self.dropped += 1
        self._in_body = False
        del self._buffer[:count]
