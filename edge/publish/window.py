"""Which event messages are under way: strictly in order, at most so many, deleted when taken."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Protocol

from edge.publish.connection import REFUSED_FROM, Ack, Connection, ConnectionLostError
from edge.publish.outbox import Row

WINDOW = 16
# A message that the broker could not deliver for so long need not surprise anybody any more.
EXPIRY_S = 7 * 24 * 3600
_NO_SUBSCRIBER = 0x10
# MQTT 5: topic name invalid, packet too large, payload format invalid. Sending again cannot help.
_NEVER = frozenset({0x90, 0x95, 0x99})


class Rows(Protocol):
    """What the window needs of the outbox."""

    def fetch(self, *, after: int, limit: int) -> list[Row]:
        """The oldest waiting messages above `after`, in order."""

    def delete(self, seqs: list[int]) -> None:
        """Forget delivered messages."""

    def reject(self, seq: int, *, reason: str) -> None:
        """Put a message aside, a gap in its place."""


class PublishingBlockedError(ConnectionLostError):
    """The broker takes no message from us: quota, permission, or it does not say."""


class Window:
    """Messages under way on one connection; a new connection starts with the oldest message again.

    Args:
        outbox: Where messages come from.
        connection: An accepted connection.
        size: Event messages under way at most; the broker may allow less.
    """

    def __init__(self, outbox: Rows, connection: Connection, *, size: int = WINDOW) -> None:
        self._outbox = outbox
        self._connection = connection
        self._size = size
        self._under_way: dict[int, int] = {}
        self._sent_through = 0
        self._put_aside: set[int] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def pump(self) -> None:
        """Send what waits, as far as there is room.

        Raises:
            PublishingBlockedError: The broker takes nothing that is as large as a message of ours.
            ConnectionLostError: The connection has ended.
            sqlite3.Error: The disk fails.
        """
        while (room := min(self._size - len(self._under_way), self._connection.room)) > 0:
            rows = self._outbox.fetch(after=self._sent_through, limit=room)
            # A gap stands in the place of one that does not fit; the next look finds it.
            fitting = list(takewhile(self._fits, rows))
            for row in fitting:
                mid = self._connection.publish(row.topic, row.payload, expiry_s=EXPIRY_S)
                self._under_way[mid] = row.seq
                self._sent_through = row.seq
            if len(fitting) == len(rows) < room:
                return

    def _fits(self, row: Row) -> bool:
        if self._connection.limits.takes(row.topic, row.payload):
            return True
        if row.seq in self._put_aside:
            raise PublishingBlockedError("the broker takes no message as large as the smallest")
        self._put_aside.add(row.seq)
        self._outbox.reject(row.seq, reason="too_large")
        return False

    def settle(self, acks: Iterable[Ack]) -> tuple[int, int]:
        """Delete what the broker has taken; how many messages that were, and how many unheard.

        Raises:
            PublishingBlockedError: The broker refuses; try again after a while.
            ConnectionLostError: A message was put aside; the order needs a new connection.
        """
        ours = [(self._under_way.pop(a.mid), a.code) for a in acks if a.mid in self._under_way]
        taken = [seq for seq, code in ours if code < REFUSED_FROM]
        if taken:
            self._outbox.delete(taken)
        refused = [(seq, code) for seq, code in ours if code >= REFUSED_FROM]
        if not refused:
            return len(taken), sum(code == _NO_SUBSCRIBER for _, code in ours)
        never = [(seq, code) for seq, code in refused if code in _NEVER]
        for seq, code in never:
            self._outbox.reject(seq, reason=f"0x{code:02x}")
        if len(never) == len(refused):
            raise ConnectionLostError(f"{len(never)} message(s) refused for good and put aside")
        raise PublishingBlockedError(f"the broker refuses messages (reason 0x{refused[0][1]:02x})")
