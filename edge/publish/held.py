"""Messages that the disk does not take: kept in memory in order, the least needed go first."""

from __future__ import annotations

from collections import deque

from edge.events.happening import Payload


class HeldMessages:
    """A queue of messages without numbers yet; the caller bounds it."""

    def __init__(self) -> None:
        self._messages: deque[Payload] = deque()
        self.lost = 0
        """Messages that were dropped and not told by a gap message yet."""

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, payload: Payload) -> None:
        """One more, the newest."""
        self._messages.append(payload)

    def first(self) -> Payload:
        """The oldest."""
        return self._messages[0]

    def remove_first(self) -> None:
        """The oldest is written."""
        self._messages.popleft()

    def drop_one(self) -> None:
        """Drop the oldest update, or else the oldest message."""
        for number, payload in enumerate(self._messages):
            if payload.get("phase") == "update":
                del self._messages[number]
                break
        else:
            self._messages.popleft()
        self.lost += 1
