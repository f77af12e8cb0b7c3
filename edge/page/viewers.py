"""Everybody who looks at the moment: each gets every message, and nobody can hold up another."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator

from edge.page.wire import Message

BACKLOG = 256
"""Messages that may wait for a slow viewer; one more, and it is sent away, to come back fresh."""


def encode(message: Message) -> bytes:
    """A message as a server-sent event."""
    text = json.dumps(message, separators=(",", ":"))
    return f"event: {message['kind']}\ndata: {text}\n\n".encode()


class Viewer:
    """One who looks."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        self.lost = False
        """It was too slow: some messages are missing."""

    def offer(self, data: bytes) -> None:
        """A message for it."""
        try:
            self._queue.put_nowait(data)
        except asyncio.QueueFull:
            self.lost = True

    async def next(self) -> bytes:
        """What is there for it, all at once; waits for the first."""
        data = await self._queue.get()
        while not self._queue.empty():
            data += self._queue.get_nowait()
        return data


class Hub:
    """All viewers.

    Args:
        limit: How many there may be.
        told: Called with their number whenever it has changed.
    """

    def __init__(self, limit: int, *, told: Callable[[int], None]) -> None:
        self._limit = limit
        self._told = told
        self._viewers: set[Viewer] = set()

    @property
    def full(self) -> bool:
        """Whether there is no room for another."""
        return len(self._viewers) >= self._limit

    @contextlib.contextmanager
    def join(self) -> Iterator[Viewer]:
        """Look on."""
        viewer = Viewer()
        self._viewers.add(viewer)
        self._told(len(self._viewers))
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self._told(len(self._viewers))

    def wake(self) -> None:
        """Let all look whether they are still wanted."""
        for viewer in self._viewers:
            viewer.offer(b"")

    def publish(self, message: Message) -> None:
        """Tell all."""
        if self._viewers:
            data = encode(message)
            for viewer in self._viewers:
                viewer.offer(data)
