"""Messages from the daemon to the page's process: JSON, and the bytes of a picture if there is one.

Each is the length of the JSON and the length of the bytes, four bytes each, big-endian; then the
JSON, then the bytes.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

Message = dict[str, Any]
"""A JSON object with `kind`: "board", "camera", "score", "event", "beat" or "picture"."""

_LENGTHS = struct.Struct(">II")


def pack(message: Message, data: bytes = b"") -> bytes:
    """As it goes over the socket."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(data)) + text + data


async def unpack(reader: asyncio.StreamReader) -> tuple[Message, bytes] | None:
    """The next message; None when the daemon has gone."""
    try:
        text_length, data_length = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        text = await reader.readexactly(text_length)
        data = await reader.readexactly(data_length)
    except (asyncio.IncompleteReadError, OSError):
        return None
    message: Message = json.loads(text)
    return message, data
