"""Time, passed in where it matters so that tests turn it by hand.

Durations and deadlines come from `monotonic` only; `utc` is only for what people read.
"""

from __future__ import annotations

import ctypes
import datetime
import time
from typing import Literal, Protocol

ClockState = Literal["synced", "unsynced"]

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # struct timex has 208 bytes on 64-bit Linux; more does no harm


class Clock(Protocol):
    """What the runtime asks of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never falls, never jumps."""

    def utc(self) -> datetime.datetime:
        """The wall clock, timezone UTC; may jump."""

    def state(self) -> ClockState:
        """Whether the wall clock is known to be right."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def utc(self) -> datetime.datetime:
        """The wall clock in UTC."""
        return datetime.datetime.now(datetime.timezone.utc)

    def state(self) -> ClockState:
        """Ask the kernel (adjtimex); a device without a battery clock often boots unsynced."""
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            answer = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
        except (OSError, AttributeError):
            return "unsynced"
        return "synced" if 0 <= answer != _TIME_ERROR else "unsynced"


def rfc3339(moment: datetime.datetime) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-07-01T21:14:03.120Z``."""
    utc = moment.astimezone(datetime.timezone.utc)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"
