"""What lies ready for viewers in the page's process: the board, and the newest pictures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge.page.board import Board
from edge.page.viewers import Hub
from edge.page.wire import Message

SILENT_S = 10.0
"""A daemon that has not said anything for so long is not well."""
# A viewer asks for the picture that it was told of, while the next one may have come already.
_KEPT = 3


@dataclass(frozen=True)
class LivePicture:
    """A camera's picture, and its score map as a grey PNG with one pixel a cell."""

    number: int
    jpeg: bytes
    heat: bytes


class Desk:
    """Filled by the daemon's messages.

    Args:
        viewers: How many may look.
        told: Called with their number whenever it has changed.
    """

    def __init__(self, viewers: int, *, told: Callable[[int], None]) -> None:
        self.board = Board({})
        self.hub = Hub(viewers, told=told)
        self._pictures: dict[str, deque[LivePicture]] = {}
        self._heard_s: float | None = None

    @property
    def ready(self) -> bool:
        """Whether the daemon speaks, and says that it is scoring."""
        fresh = self._heard_s is not None and time.monotonic() - self._heard_s < SILENT_S
        return fresh and self.board.scoring

    def take(self, message: Message, data: bytes) -> None:
        """Take a message of the daemon, and tell the viewers."""
        self._heard_s = time.monotonic()
        if message["kind"] == "board":
            self.board = Board.of(message)
        else:
            self.board.apply(message)
        if message["kind"] == "cameras":
            for name in self._pictures.keys() - set(message["names"]):
                del self._pictures[name]
        if message["kind"] == "picture":
            size = message["jpeg_bytes"]
            kept = self._pictures.setdefault(message["camera"], deque(maxlen=_KEPT))
            kept.append(LivePicture(message["n"], data[:size], data[size:]))
        self.hub.publish(message)

    def picture(self, camera: str, number: int | None) -> LivePicture | None:
        """The picture of that number if it is still there, else the newest."""
        kept = self._pictures.get(camera)
        if not kept:
            return None
        return next((one for one in kept if one.number == number), kept[-1])
