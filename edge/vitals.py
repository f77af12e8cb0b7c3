"""How the daemon stands as a whole, asked from outside its loop (metrics, page)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vitals:
    """Counts since the start, and what waits now.

    Attributes:
        outbox_rows: Messages that wait for the broker.
        outbox_bytes: Their size.
        outbox_dropped: Messages that were dropped because too many waited.
        delivered: Messages that the broker has acknowledged.
        connected: There is a connection to the broker.
        connects: How often there was.
        ticks_skipped: Looks at the cameras that came too late and were left out.
        pictures_missing: Pictures that could not be written.
    """

    outbox_rows: int
    outbox_bytes: int
    outbox_dropped: int
    delivered: int
    connected: bool
    connects: int
    ticks_skipped: int
    pictures_missing: int
