"""What goes into the outbox and comes out of it, besides messages: bounds, rows, depth."""

from __future__ import annotations

from dataclasses import dataclass

from edge.publish.outbox_space import RESERVE_BYTES


@dataclass(frozen=True)
class Bounds:
    """How much may wait for the broker, and how much room is kept for a disk that is full."""

    rows: int = 50_000
    payload_bytes: int = 64 * 2**20
    reserve_bytes: int = RESERVE_BYTES


@dataclass(frozen=True)
class Row:
    """A message to be published."""

    seq: int
    topic: str
    payload: str


@dataclass(frozen=True)
class Depth:
    """What waits.

    Attributes:
        rows: Messages.
        payload_bytes: Characters of their payloads.
        dropped: Messages dropped since the file was opened.
        held: Those among `rows` that are in memory only, because the disk fails.
    """

    rows: int
    payload_bytes: int
    dropped: int
    held: int = 0
