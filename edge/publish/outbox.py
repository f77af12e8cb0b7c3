"""The outbox: every event message lies in this SQLite file until the broker has acknowledged it.

Rules:

1. WAL and synchronous=FULL: a committed message survives power loss.
2. One connection in one thread (`edge.publish.outbox_thread`), and a lock file against a second
   process: SQLite's WAL-reset race (3.7.0 to 3.51.2) needs two connections.
3. Numbers are given at the commit, +1 each, never reused. `stream_id` names the count; a new file
   has a new one.
4. Order: append -> commit -> publish -> delete when acknowledged.
5. The file is bounded. What has to go is replaced in place by one `gap` message per run of numbers
   (`edge.publish.retention`), so that no jump is unexplained.
6. Open events are rows too, changed in the same transaction: after a crash their end can be sent.
7. Room is held ready for a disk that is full (`edge.publish.outbox_space`).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import structlog

from edge.clock import Clock
from edge.events.happening import Payload
from edge.events.identifiers import uuid7
from edge.publish.clock_repair import distance_s, needs_repair, repaired
from edge.publish.local_disk import require_local
from edge.publish.outbox_file import (
    boot_id,
    count_waiting,
    keep_dead_letter,
    locked,
    open_database,
    put_aside,
    transaction,
    waiting,
)
from edge.publish.outbox_messages import MessageWriter
from edge.publish.outbox_space import Space
from edge.publish.outbox_values import Bounds, Depth, Row
from edge.publish.retention import GapEncoder, GapReason, make_room, replace_by_gaps
from engines.errors import CannotCreateError

__all__ = ["Bounds", "Depth", "Outbox", "Row"]

_log = structlog.get_logger()


class Outbox:
    """The file; opened by ``with``, used from one thread only.

    Args:
        path: The SQLite file, on a local disk.
        device: Named in gap messages.
        topic: Where this device's messages go.
        clock: For `stream_id` and the times of gap messages.
        bounds: How much may wait.
    """

    def __init__(
        self, path: Path, *, device: str, topic: str, clock: Clock, bounds: Bounds | None = None
    ) -> None:
        self.path = path
        self._topic = topic
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._resources = contextlib.ExitStack()
        self._connection: sqlite3.Connection | None = None
        self._writer = MessageWriter("", device, clock)
        self._boot_id = boot_id()
        self._next_seq = 1
        self._handed = 0  # highest number given to the publisher
        self._handed_bytes: dict[int, int] = {}
        self._rows = self._bytes = self._dropped = 0

    def __enter__(self) -> Outbox:
        """Lock, check and open the file; a damaged one is put aside and a new one started.

        Raises:
            ConfigError: The file lies on a network file system.
            TemporaryError: Another process uses this outbox.
            CannotCreateError: The file cannot be written.
        """
        require_local(self.path.parent)
        try:
            self._resources.enter_context(locked(self.path))
            self._open()
        except BaseException as error:
            self._resources.close()
            if isinstance(error, (OSError, sqlite3.Error)):
                raise CannotCreateError(
                    f"the outbox cannot be opened: {error}",
                    where=str(self.path),
                    mend="give a folder on a local disk that this user may write and that is not "
                    "full: df -h, ls -ld",
                ) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file and release the lock."""
        self._connection = None
        self._resources.close()

    @property
    def stream_id(self) -> str:
        """Names the count of `seq`; UUIDv7 made with the file."""
        return self._writer.stream_id

    @property
    def last_seq(self) -> int:
        """The newest number given, 0 before the first."""
        return self._next_seq - 1

    @property
    def depth(self) -> Depth:
        """What waits."""
        return Depth(self._rows, self._bytes, self._dropped)

    def append(self, payload: Payload) -> int:
        """Number and commit one event message; its number.

        `payload` is the JSON of `Event.payload`. Nothing has changed if this raises.

        Raises:
            sqlite3.Error: The disk is full or fails.
        """
        seq = self._next_seq
        text = self._writer.number(payload, seq)
        event_id, phase = str(payload["id"]), str(payload["phase"])
        self._space.look()
        with transaction(self._db) as db:
            self._insert(db, seq=seq, kind=phase, event_id=event_id, text=text)
            if needs_repair(payload) and self._clock.state() != "synced":
                values = (seq, self._boot_id, distance_s(self._clock))
                db.execute("INSERT OR REPLACE INTO unsynced VALUES (?, ?, ?)", values)
            if phase == "end":
                db.execute("DELETE FROM open_events WHERE event_id = ?", (event_id,))
            else:
                db.execute("INSERT OR REPLACE INTO open_events VALUES (?, ?)", (event_id, text))
            counts, dropped = (self._rows + 1, self._bytes + len(text)), 0
            if counts[0] > self._bounds.rows or counts[1] > self._bounds.payload_bytes:
                dropped = make_room(
                    db,
                    rows=self._bounds.rows,
                    payload_bytes=self._bounds.payload_bytes,
                    handed=self._handed,
                    encode=self._gap("outbox_full"),
                )
                counts = count_waiting(db)
        self._next_seq = seq + 1
        self._rows, self._bytes = counts
        if dropped:
            self._dropped += dropped
            _log.error("outbox_full", dropped=dropped, rows=self._rows, bytes=self._bytes)
        return seq

    def fetch(self, *, after: int, limit: int) -> list[Row]:
        """The oldest waiting messages with numbers above `after`, in order."""
        found = waiting(self._db, boot=self._boot_id, after=after, limit=limit)
        rows = []
        for seq, topic, text, distance in found:
            self._handed_bytes[seq] = len(text)
            self._handed = max(self._handed, seq)
            rows.append(Row(seq, topic, self._with_right_times(text, distance)))
        return rows

    def delete(self, seqs: Iterable[int]) -> None:
        """Forget acknowledged messages.

        Raises:
            sqlite3.Error: The disk fails; the messages stay and will be sent again.
        """
        gone = list(seqs)
        with transaction(self._db) as db:
            keys = [(seq,) for seq in gone]
            db.executemany("DELETE FROM outbox WHERE seq = ?", keys)
            db.executemany("DELETE FROM unsynced WHERE seq = ?", keys)
        for seq in gone:
            size = self._handed_bytes.pop(seq, None)
            if size is not None:
                self._rows -= 1
                self._bytes -= size

    def reject(self, seq: int, *, reason: str) -> None:
        """Put a message that the broker will never take into `dead_letters`, a gap in its place.

        Raises:
            sqlite3.Error: The disk fails.
        """
        with transaction(self._db) as db:
            keep_dead_letter(db, seq, reason)
            # It was handed out, so the gap must not swallow neighbours that may be under way.
            replace_by_gaps(db, [seq], handed=self._next_seq, encode=self._gap("refused"))
            counts = count_waiting(db)
        self._handed_bytes.pop(seq, None)
        self._rows, self._bytes = counts
        self._dropped += 1

    def append_gap(self, count: int) -> int:
        """Give `count` numbers to messages that could not be stored; the last of them.

        Raises:
            sqlite3.Error: The disk is full or fails.
        """
        self._space.look()
        self._insert_gap("storage", count)
        self._dropped += count
        return self.last_seq

    def remember(self, key: str, value: str) -> None:
        """Keep a small fact over restarts.

        Raises:
            sqlite3.Error: The disk is full or fails.
        """
        with transaction(self._db) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"fact:{key}", value))

    def recall(self, key: str) -> str | None:
        """What `remember` kept."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (f"fact:{key}",)).fetchone()
        return None if row is None else str(row[0])

    def open_events(self) -> list[Payload]:
        """The last messages of the events that have no end yet, oldest first."""
        rows = self._db.execute("SELECT payload FROM open_events ORDER BY event_id").fetchall()
        return [json.loads(text) for (text,) in rows]

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._connection is not None, "the outbox is not open"
        return self._connection

    def _open(self) -> None:
        damage = None
        try:
            connection = open_database(self.path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            damage = error
            _log.error("outbox_damaged", error=str(error), put_aside=str(put_aside(self.path)))
            connection = open_database(self.path)
        self._resources.callback(connection.close)
        self._connection = connection
        self._space = Space(connection, self.path)
        self._read_state(connection)
        self._space.reserve(self._bounds.reserve_bytes)
        if damage is not None:
            self._insert_gap("storage", None)  # nobody knows what the damaged file held

    def _read_state(self, db: sqlite3.Connection) -> None:
        new_id = str(uuid7(self._clock.utc()))
        db.execute("INSERT OR IGNORE INTO meta VALUES ('stream_id', ?)", (new_id,))
        (stream_id,) = db.execute("SELECT value FROM meta WHERE key = 'stream_id'").fetchone()
        self._writer = replace(self._writer, stream_id=stream_id)
        last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        self._next_seq = 1 if last is None else int(last[0]) + 1
        self._rows, self._bytes = count_waiting(db)

    def _gap(self, reason: GapReason) -> GapEncoder:
        return lambda first, last, seq: self._writer.gap(reason, first, last, seq=seq)

    def _with_right_times(self, text: str, distance: float | None) -> str:
        if distance is None or self._clock.state() != "synced":
            return text
        return repaired(text, error_s=distance_s(self._clock) - distance)

    def _insert(
        self, db: sqlite3.Connection, *, seq: int, kind: str, event_id: str | None, text: str
    ) -> None:
        values = (seq, seq, self._boot_id, time.monotonic_ns(), self._topic, kind, event_id, text)
        db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _insert_gap(self, reason: GapReason, count: int | None) -> None:
        """Insert a gap message; `count` None: how many are missing is not known."""
        first, last = self._next_seq, self._next_seq + (count or 1) - 1
        known = (None, None) if count is None else (first, last)
        text = self._writer.gap(reason, *known, seq=last)
        with transaction(self._db) as db:
            self._insert(db, seq=last, kind="gap", event_id=None, text=text)
            db.execute("UPDATE outbox SET from_seq = ? WHERE seq = ?", (first, last))
        self._next_seq = last + 1
        self._rows, self._bytes = count_waiting(self._db)
