"""One connection at work, over a connection that is none: what is said before the good-bye."""

from __future__ import annotations

from typing import Any

from support.clock import ManualClock

from edge.publish.address import Topics
from edge.publish.connection import Ack
from edge.publish.limits import BrokerLimits
from edge.publish.outbox import Depth, Row
from edge.publish.retained import Retained, RetainedValue
from edge.publish.session import Session, Tally

TOPICS = Topics("gate-01")
ALARM = TOPICS.camera_alarm("yard")


class Willing:
    """Takes and acknowledges everything."""

    limits = BrokerLimits()
    room = 16

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self._acked = 0

    def publish(self, topic: str, payload: str, **_: object) -> int:
        self.said.append((topic, payload))
        return len(self.said)

    def poll(self, _timeout_s: float, _waker: object = None) -> list[Ack]:
        before, self._acked = self._acked, len(self.said)
        return [Ack(mid, 0) for mid in range(before + 1, self._acked + 1)]

    def disconnect(self) -> None:
        pass


class LastWords:
    """An empty outbox; while it is asked, the daemon says its last word and wants to stop."""

    def __init__(self, retained: Retained) -> None:
        self._retained = retained
        self.asked = self.stop = False

    def fetch(self, **_: int) -> list[Row]:
        if not self.asked:
            self.asked = True
            self._retained.put(ALARM, RetainedValue("OFF"))
            self.stop = True
        return []

    def depth(self) -> Depth:
        return Depth(0, 0, 0)

    def stopping(self) -> bool:
        return self.stop

    def finished(self) -> bool:
        return False


def test_what_was_retained_before_the_stop_is_said_before_the_good_bye() -> None:
    retained, connection = Retained(), Willing()
    retained.put(ALARM, RetainedValue("ON"))
    daemon: Any = LastWords(retained)
    session = Session(
        connection=connection,  # type: ignore[arg-type]
        outbox=daemon,
        retained=retained,
        topics=TOPICS,
        tally=Tally(),
        clock=ManualClock(),
    )
    session.serve(daemon, waker=None)  # type: ignore[arg-type]
    assert connection.said == [
        (ALARM, "ON"),
        (TOPICS.status, "online"),
        (ALARM, "OFF"),
        (TOPICS.status, "offline"),
    ]
