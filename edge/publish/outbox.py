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
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import structlog

from edge.clock import Clock, rfc3339
from edge.events.event import EVENT_SCHEMA, Payload
from edge.events.identifiers import uuid7
from edge.publish.outbox_file import boot_id, locked, open_database, put_aside
from edge.publish.retention import GapReason, replace_by_gaps, victims
from engines.errors import CannotCreateError

# After a bound is reached this share of it is kept, so that not every message has to make room.
_KEEP_SHARE = 0.9

_log = structlog.get_logger()


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
    """What waits (messages, bytes), and how many were dropped since the file was opened."""

    rows: int
    payload_bytes: int
    dropped: int


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
        self._device = device
        self._topic = topic
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._resources = contextlib.ExitStack()
        self._connection: sqlite3.Connection | None = None
        self._stream_id = ""
        self._boot_id = boot_id()
        self._next_seq = 1
        self._handed = 0  # highest number given to the publisher
        self._handed_bytes: dict[int, int] = {}
        self._rows = self._bytes = self._dropped = 0

    def __enter__(self) -> Outbox:
        """Lock, check and open the file; a damaged one is put aside and a new one started.

        Raises:
            TemporaryError: Another process uses this outbox.
            CannotCreateError: The file cannot be written.
        """
        try:
            self._resources.enter_context(locked(self.path))
            self._open()
        except BaseException as error:
            self._resources.close()
            if isinstance(error, (OSError, sqlite3.Error)):
                raise CannotCreateError(
                    f"the outbox cannot be opened: {error}",
                    where=str(self.path),
                    mend="name a folder on a local disk that this user may write",
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
        return self._stream_id

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
        text = self._encode(payload, seq)
        event_id, phase = str(payload["id"]), str(payload["phase"])
        with self._transaction() as db:
            self._insert(db, seq=seq, kind=phase, event_id=event_id, text=text)
            if phase == "end":
                db.execute("DELETE FROM open_events WHERE event_id = ?", (event_id,))
            else:
                db.execute("INSERT OR REPLACE INTO open_events VALUES (?, ?)", (event_id, text))
            full = self._over(self._rows + 1, self._bytes + len(text), share=1.0)
            dropped = self._shrink(db) if full else 0
            counts = _count(db) if full else (self._rows + 1, self._bytes + len(text))
        self._next_seq = seq + 1
        self._rows, self._bytes = counts
        if dropped:
            self._dropped += dropped
            _log.error("outbox_full", dropped=dropped, rows=self._rows, bytes=self._bytes)
        return seq

    def fetch(self, *, after: int, limit: int) -> list[Row]:
        """The oldest waiting messages with numbers above `after`, in order."""
        found = self._db.execute(
            "SELECT seq, topic, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        ).fetchall()
        rows = [Row(*row) for row in found]
        for row in rows:
            self._handed_bytes[row.seq] = len(row.payload)
            self._handed = max(self._handed, row.seq)
        return rows

    def delete(self, seqs: Iterable[int]) -> None:
        """Forget acknowledged messages.

        Raises:
            sqlite3.Error: The disk fails; the messages stay and will be sent again.
        """
        gone = list(seqs)
        with self._transaction() as db:
            db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in gone])
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
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO dead_letters "
                "SELECT seq, topic, ?, payload FROM outbox WHERE seq = ? AND class != 'gap'",
                (reason, seq),
            )
            # It was handed out, so the gap must not swallow neighbours that may be under way.
            replace_by_gaps(db, [seq], handed=self._next_seq, encode=self._gap("refused"))
            counts = _count(db)
        self._handed_bytes.pop(seq, None)
        self._rows, self._bytes = counts
        self._dropped += 1

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
        self._read_state(connection)
        if damage is not None:
            self._say_storage_failed()

    def _read_state(self, db: sqlite3.Connection) -> None:
        new_id = str(uuid7(self._clock.utc()))
        db.execute("INSERT OR IGNORE INTO meta VALUES ('stream_id', ?)", (new_id,))
        (self._stream_id,) = db.execute("SELECT value FROM meta WHERE key = 'stream_id'").fetchone()
        last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        self._next_seq = 1 if last is None else int(last[0]) + 1
        self._rows, self._bytes = _count(db)

    def _say_storage_failed(self) -> None:
        """The first message of a file that replaces a damaged one: messages may be missing."""
        seq = self._next_seq
        text = self._gap("storage")(None, None, seq)
        with self._transaction() as db:
            self._insert(db, seq=seq, kind="gap", event_id=None, text=text)
        self._next_seq = seq + 1
        self._rows, self._bytes = _count(self._db)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to be told
                db.execute("ROLLBACK")
            raise

    def _insert(
        self, db: sqlite3.Connection, *, seq: int, kind: str, event_id: str | None, text: str
    ) -> None:
        db.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, seq, self._boot_id, time.monotonic_ns(), self._topic, kind, event_id, text),
        )

    def _over(self, rows: int, payload_bytes: int, *, share: float) -> bool:
        return (
            rows > self._bounds.rows * share or payload_bytes > self._bounds.payload_bytes * share
        )

    def _shrink(self, db: sqlite3.Connection) -> int:
        """Drop messages in the order of `victims` until there is room; how many were dropped."""
        dropped = 0
        for seqs in victims(db, handed=self._handed, chunk=max(1, self._bounds.rows // 20)):
            replace_by_gaps(db, seqs, handed=self._handed, encode=self._gap("outbox_full"))
            dropped += len(seqs)
            if not self._over(*_count(db), share=_KEEP_SHARE):
                break
        return dropped

    def _encode(self, payload: Payload, seq: int) -> str:
        numbered = {
            "schema_version": EVENT_SCHEMA,
            **payload,
            "stream_id": self._stream_id,
            "seq": seq,
        }
        return json.dumps(numbered, separators=(",", ":"), allow_nan=False)

    def _gap(self, reason: GapReason) -> Callable[[int | None, int | None, int], str]:
        """A maker of gap messages: (from, to, own number) -> JSON; None: not known."""

        def encode(from_seq: int | None, to_seq: int | None, seq: int) -> str:
            count = None if from_seq is None or to_seq is None else to_seq - from_seq + 1
            payload: Payload = {
                "phase": "gap",
                "device": self._device,
                "at": rfc3339(self._clock.utc()),
                "from_seq": from_seq,
                "to_seq": to_seq,
                "count": count,
                "reason": reason,
            }
            return self._encode(payload, seq)

        return encode


def _count(db: sqlite3.Connection) -> tuple[int, int]:
    rows, size = db.execute(
        "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM outbox"
    ).fetchone()
    return int(rows), int(size)
