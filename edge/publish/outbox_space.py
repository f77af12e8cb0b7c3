"""Room for the outbox that it keeps when the disk is full: free pages in its file and in its log.

With them messages are committed, and deleted when delivered, on a disk without a free byte. Only
when the reserve too is used up (full disk and absent broker) does an insert fail. The file may not
grow then, because a page in the log that finds no place in the file would stop the log from being
used again, and with it the deleting, which makes room.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import structlog

RESERVE_BYTES = 2 * 2**20  # several hundred messages
_LOG_PAGES = 250  # the log is started again after so many (1 MiB), so that it fits
LOW_BYTES = 32 * 2**20  # with less free disk than this the file does not grow
_UNLIMITED_PAGES = 2**31 - 2  # SQLite's own limit before 3.45

_log = structlog.get_logger()


class Space:
    """The reserve of one open outbox.

    Args:
        db: The connection, in autocommit.
        path: Its file.
    """

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._folder = path.parent
        self._low = False

    def reserve(self, size: int = RESERVE_BYTES) -> None:
        """Fill `size` bytes with noise and set them free; a full disk is no error."""
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}").fetchall()
        if size == 0:
            return
        try:
            # Two transactions: what is deleted in the one that wrote it never reaches the disk.
            # Noise, because some file systems do not store zeros.
            self._db.execute("INSERT INTO reserve VALUES (randomblob(?))", (size,))
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.OperationalError as error:
            _log.warning("outbox_has_no_reserve", error=str(error))
        self._db.execute("DELETE FROM reserve")

    def look(self) -> None:
        """Forbid the file to grow while the disk is nearly full; call it before each insert."""
        low = free_bytes(self._folder) < LOW_BYTES
        if low == self._low:
            return
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        limit = pages if low else _UNLIMITED_PAGES
        self._db.execute(f"PRAGMA max_page_count = {limit}").fetchall()
        self._low = low
        if low:
            _log.warning("disk_nearly_full", folder=str(self._folder))


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write there."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
