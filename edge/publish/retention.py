"""What has to go when the outbox is full, and the gap messages that say so.

Order: updates that a later message of the same event supersedes, then all updates, then the oldest
complete events. The newest complete event, starts without an end and ends without a start stay.
Messages that were handed to the publisher stay too: they may be under way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal, TypeVar

from edge.publish.outbox_file import count_waiting

# After a bound is reached this share of it is kept, so that not every message has to make room.
_KEEP_SHARE = 0.9

GapReason = Literal["outbox_full", "refused", "storage"]
GapEncoder = Callable[[int, int, int], str]
"""(from_seq, to_seq, own seq) -> JSON."""

Item = TypeVar("Item")

_SUPERSEDED = """
SELECT seq FROM outbox AS row WHERE class = 'update' AND seq > :handed AND EXISTS
(SELECT 1 FROM outbox AS later WHERE later.event_id = row.event_id AND later.seq > row.seq)
ORDER BY seq
"""
_UPDATES = "SELECT seq FROM outbox WHERE class = 'update' AND seq > :handed ORDER BY seq"
_COMPLETE = """
SELECT event_id FROM outbox WHERE event_id IS NOT NULL GROUP BY event_id
HAVING SUM(class = 'start') > 0 AND SUM(class = 'end') > 0 AND MIN(seq) > :handed
ORDER BY MAX(seq)
"""


def make_room(
    db: sqlite3.Connection, *, rows: int, payload_bytes: int, handed: int, encode: GapEncoder
) -> int:
    """Replace messages by gaps until there is room again; how many were dropped.

    Args:
        db: Within a transaction.
        rows: Messages that may wait.
        payload_bytes: Characters of their payloads.
        handed: Messages up to this number may be under way and stay.
        encode: Makes the JSON of a gap.
    """
    dropped = 0
    for seqs in victims(db, handed=handed, chunk=max(1, rows // 20)):
        replace_by_gaps(db, seqs, handed=handed, encode=encode)
        dropped += len(seqs)
        waiting, size = count_waiting(db)
        if waiting <= rows * _KEEP_SHARE and size <= payload_bytes * _KEEP_SHARE:
            break
    return dropped


def victims(db: sqlite3.Connection, *, handed: int, chunk: int) -> Iterator[list[int]]:
    """Numbers of messages to drop, in portions of about `chunk`, the least needed first.

    Ask for the next portion only after the last one has been replaced.
    """
    for query in (_SUPERSEDED, _UPDATES):
        found = [seq for (seq,) in db.execute(query, {"handed": handed}).fetchall()]
        yield from _portions(found, chunk)
    events = [event for (event,) in db.execute(_COMPLETE, {"handed": handed}).fetchall()]
    for some in _portions(events[:-1], max(1, chunk // 2)):
        seqs: list[int] = []
        for event in some:
            rows = db.execute("SELECT seq FROM outbox WHERE event_id = ?", (event,)).fetchall()
            seqs += [seq for (seq,) in rows]
        yield sorted(seqs)


def replace_by_gaps(
    db: sqlite3.Connection, seqs: Sequence[int], *, handed: int, encode: GapEncoder
) -> None:
    """Replace messages by one gap message per run of numbers; gaps that touch become one.

    Args:
        db: Within a transaction.
        seqs: Numbers of the messages, rising.
        handed: Gaps up to this number were handed to the publisher and are left alone.
        encode: Makes the JSON of a gap.
    """
    for first, last in runs_of(seqs):
        model = db.execute(
            "SELECT boot_id, mono_ns, topic FROM outbox WHERE seq = ?", (last,)
        ).fetchone()
        before = db.execute(
            "SELECT from_seq FROM outbox WHERE class = 'gap' AND seq = ? AND seq > ?",
            (first - 1, handed),
        ).fetchone()
        after = db.execute(
            "SELECT seq FROM outbox WHERE class = 'gap' AND from_seq = ? AND seq > ?",
            (last + 1, handed),
        ).fetchone()
        from_seq = first if before is None else int(before[0])
        to_seq = last if after is None else int(after[0])
        db.execute("DELETE FROM outbox WHERE seq BETWEEN ? AND ?", (from_seq, to_seq))
        db.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, 'gap', NULL, ?)",
            (to_seq, from_seq, *model, encode(from_seq, to_seq, to_seq)),
        )


def runs_of(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers in rising `seqs`: [1, 2, 5] -> [(1, 2), (5, 5)]."""
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and seq == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return runs


def _portions(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while portion := list(islice(source, size)):
        yield portion
