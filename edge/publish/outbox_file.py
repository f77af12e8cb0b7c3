"""The SQLite file of the outbox: tables, lock, opening, transactions, putting it aside."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from engines.errors import TemporaryError

OUTBOX_NAME = "outbox.sqlite3"
"""In a state folder."""

DEAD_LETTERS = 1000
"""So many of the newest are kept; a broker may refuse every message for years."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    from_seq INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    mono_ns INTEGER NOT NULL,
    topic TEXT NOT NULL,
    class TEXT NOT NULL,
    event_id TEXT,
    payload TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_by_event ON outbox (event_id, seq);
CREATE TABLE IF NOT EXISTS open_events (event_id TEXT PRIMARY KEY, payload TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS unsynced (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, distance_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS reserve (filler BLOB);
CREATE TABLE IF NOT EXISTS dead_letters (
    seq INTEGER PRIMARY KEY, topic TEXT NOT NULL, reason TEXT NOT NULL, payload TEXT NOT NULL
);
"""


_WAITING = """
SELECT outbox.seq, topic, payload, distance_s FROM outbox
LEFT JOIN unsynced ON unsynced.seq = outbox.seq AND unsynced.boot_id = ?
WHERE outbox.seq > ? ORDER BY outbox.seq LIMIT ?
"""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``<path>.lock``, so that no second process opens the same file.

    Raises:
        TemporaryError: Another process holds it.
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock_of(path).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TemporaryError(
                "another vigil uses this outbox",
                where=str(path),
                mend="stop it, or give this one another device name or state folder",
            ) from error
        yield


def in_use(path: Path) -> bool:
    """Whether a process has the file open; leaves nothing behind, not even a lock file.

    Raises:
        OSError: This user may not look.
    """
    try:
        with _lock_of(path).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def open_database(path: Path) -> sqlite3.Connection:
    """Open, check and complete the file; autocommit, WAL, synchronous=FULL.

    Raises:
        sqlite3.OperationalError: The disk is full, fails, or may not be written.
        sqlite3.DatabaseError: The file is damaged.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check(connection)
        connection.executescript(_TABLES)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is done inside is committed, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the first error is the one to be told
            db.execute("ROLLBACK")
        raise


def waiting(
    db: sqlite3.Connection, *, boot: str, after: int, limit: int
) -> list[tuple[int, str, str, float | None]]:
    """Rows (seq, topic, payload, distance of the clocks if it was kept in this `boot`)."""
    return db.execute(_WAITING, (boot, after, limit)).fetchall()


def count_waiting(db: sqlite3.Connection) -> tuple[int, int]:
    """Messages in the outbox, and the characters of their payloads."""
    rows, size = db.execute(
        "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM outbox"
    ).fetchone()
    return int(rows), int(size)


def keep_dead_letter(db: sqlite3.Connection, seq: int, reason: str) -> None:
    """Copy a message that no broker will take, for a person to look at; the oldest go."""
    db.execute(
        "INSERT OR REPLACE INTO dead_letters "
        "SELECT seq, topic, ?, payload FROM outbox WHERE seq = ? AND class != 'gap'",
        (reason, seq),
    )
    db.execute(
        "DELETE FROM dead_letters WHERE seq NOT IN "
        "(SELECT seq FROM dead_letters ORDER BY seq DESC LIMIT ?)",
        (DEAD_LETTERS,),
    )


def put_aside(path: Path) -> Path:
    """Rename a damaged file and what belongs to it; the new name."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def boot_id() -> str:
    """Names the run of the kernel that monotonic times belong to."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _check(connection: sqlite3.Connection) -> None:
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise sqlite3.DatabaseError(f"quick_check says: {answer}")
