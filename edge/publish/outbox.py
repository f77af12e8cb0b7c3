"""The outbox: every event message lies in this SQLite file until the broker has acknowledged it.

Rules:

1. WAL and synchronous=FULL: a committed message survives power loss.
2. One connection in one thread (`edge.publish.outbox_thread`), and a lock file against a second
   process: SQLite's WAL-reset race (3.7.0 to 3.51.2) needs two connections.
3. Numbers are given at the commit, +1 each, never reused. `stream_id` names the count; a new file
   has a new one.
4. Order: append -> commit -> publish -> delete when acknowledged.
5. The file is bounded. What has to go is replaced in place by one `gap` message per run of
   numbers, so that no jump is unexplained.
6. Open events are rows too, changed in the same transaction: after a crash their end can be sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import structlog

from edge.clock import Clock, rfc3339
from edge.events.event import EVENT_SCHEMA, Payload
from edge.events.identifiers import uuid7
from edge.publish.retention import drop_order, runs_of
from engines.errors import CannotCreateError, TemporaryError

OUTBOX_SCHEMA = "1"
GapReason = Literal["outbox_full", "refused", "storage"]

_log = structlog.get_logger()

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    from_seq INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    mono_ns INTEGER NOT NULL,
    topic TEXT NOT NULL,
    class TEXT NOT NULL,
    event_id TEXT,
    payload TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_by_event ON outbox (event_id, seq);
CREATE TABLE IF NOT EXISTS open_events (event_id TEXT PRIMARY KEY, payload TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS dead_letters (
    seq INTEGER PRIMARY KEY, topic TEXT NOT NULL, reason TEXT NOT NULL, payload TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Bounds:
    """How much may wait for the broker."""

    rows: int = 50_000
    payload_bytes: int = 64 * 2**20


@dataclass(frozen=True)
class Row:
    """A message to be published."""

    seq: int
    topic: str
    payload: str


@dataclass(frozen=True)
class Depth:
    """What waits: messages, their bytes; and messages dropped since the file was opened."""

    rows: int
    payload_bytes: int
    dropped: int


class Outbox:
    """The file, opened. Use it from one thread only, with ``with``.

    Args:
        path: The SQLite file, on a local disk.
        device: Named in gap messages.
        topic: Where messages of this device go.
        clock: For times in gap messages and for `stream_id`.
        bounds: How much may wait.
    """

    def __init__(
        self, path: Path, *, device: str, topic: str, clock: Clock, bounds: Bounds | None = None
    ) -> None:
        self._path = path
        self._device = device
        self._topic = topic
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._lock_file: BinaryIO | None = None
        self._db = sqlite3.Connection  # type: ignore[assignment]  # placeholder, see __enter__
        self.stream_id = ""
        self._handed = 0
        self._rows = 0
        self._bytes = 0
        self._dropped = 0

    def __enter__(self) -> Outbox:
        """Lock, check and open the file; a damaged one is put aside and a new one started.

        Raises:
            TemporaryError: Another process uses this outbox.
            CannotCreateError: The file cannot be written.
        """
        raise NotImplementedError
