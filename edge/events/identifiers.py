"""UUID version 7 (RFC 9562, section 5.7): identifiers that sort by time."""

from __future__ import annotations

import datetime
import secrets
import uuid

_RANDOM_BITS = 74  # 12 bits of rand_a and 62 bits of rand_b


def uuid7(moment: datetime.datetime) -> uuid.UUID:
    """A new identifier made at `moment` (timezone-aware); unique however often it is called."""
    milliseconds = int(moment.timestamp() * 1000) & ((1 << 48) - 1)
    noise = secrets.randbits(_RANDOM_BITS)
    high, low = noise >> 62, noise & ((1 << 62) - 1)
    value = (milliseconds << 80) | (7 << 76) | (high << 64) | (0b10 << 62) | low
    return uuid.UUID(int=value)


def moment_of(identifier: uuid.UUID) -> datetime.datetime:
    """The millisecond at which a version 7 identifier was made, UTC."""
    milliseconds = identifier.int >> 80
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
