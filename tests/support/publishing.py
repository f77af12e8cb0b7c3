"""An outbox with its publisher, as the daemon has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.clock import SystemClock
from edge.publish.address import BrokerAddress, Topics
from edge.publish.outbox import Outbox
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import BrokerSettings, Publisher

TOPICS = Topics("gate-01")


class Line:
    """An outbox and its publisher."""

    def __init__(self, folder: Path, url: str, **changes: Any) -> None:
        clock = SystemClock()
        box = Outbox(folder / "o.sqlite3", device="gate-01", topic=TOPICS.event, clock=clock)
        self.outbox = OutboxThread(box, on_commit=self._wake, retry_s=0.1)
        values: dict[str, Any] = {
            "reconnect_max_s": 0.1,
            "keepalive_s": 5,
            "will_delay_s": 0,
            **changes,
        }
        settings = BrokerSettings(address=BrokerAddress.parse(url), topics=TOPICS, **values)
        self.publisher = Publisher(settings=settings, outbox=self.outbox, clock=clock)

    def _wake(self) -> None:
        self.publisher.wake()

    def send(self, count: int, *, first: int = 0, filler: int = 0) -> None:
        for number in range(first, first + count):
            phase, rev = ("end", 2) if number % 2 else ("start", 1)
            payload = {"id": f"e{number // 2}", "phase": phase, "rev": rev, "n": number}
            self.outbox.append({**payload, "x": "x" * filler} if filler else payload)

    def empty(self) -> bool:
        return self.outbox.depth().rows == 0


@contextlib.contextmanager
def line(folder: Path, url: str, *, flush_s: float = 1.0, **changes: Any) -> Iterator[Line]:
    one = Line(folder, url, **changes)
    one.outbox.start()
    try:
        one.publisher.start()
        yield one
    finally:
        one.publisher.stop(flush_s=flush_s)
        one.outbox.close()
