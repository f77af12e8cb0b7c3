"""One accepted connection at work: retained topics first, then events, for as long as it lasts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from edge.clock import Clock
from edge.publish.address import Topics
from edge.publish.connection import REFUSED_FROM, Ack, Connection
from edge.publish.outbox_thread import OutboxThread
from edge.publish.retained import Payload, Retained, RetainedValue
from edge.publish.waker import Waker
from edge.publish.window import PublishingBlockedError, Window

ONLINE, OFFLINE = "online", "offline"
GOODBYE_S = 2.0  # for the acknowledgement of `offline`
IDLE_S = 1.0  # the library wants to look at its keep-alive timer that often
# After Home Assistant's birth message all devices would answer in the same moment.
BIRTH_PAUSE_S = 5.0

_random = secrets.SystemRandom()
_log = structlog.get_logger()


class Ending(Protocol):
    """How far the run is from its end."""

    def stopping(self) -> bool:
        """A stop was requested: leave when everything is delivered."""

    def finished(self) -> bool:
        """The time for that is over."""


@dataclass
class Tally:
    """What was done over all connections.

    Attributes:
        delivered: Event messages that the broker has taken.
        unheard: Those among them for which it had no subscriber (MQTT 5).
        retain_missing: The broker of the newest connection cannot retain.
    """

    delivered: int = 0
    unheard: int = 0
    retain_missing: bool = False


class Session:
    """The work on one connection.

    Args:
        connection: Accepted by the broker.
        outbox: Where event messages come from.
        retained: The retained topics.
        topics: For `status`.
        tally: Counted on.
        clock: For deadlines.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        outbox: OutboxThread,
        retained: Retained,
        topics: Topics,
        tally: Tally,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._window = Window(outbox, connection)
        self._retained = retained
        self._topics = topics
        self._tally = tally
        self._clock = clock
        self._waiting: dict[int, tuple[str, Callable[[], None]]] = {}
        self._again_at: float | None = None

    def serve(self, ending: Ending, waker: Waker, *, birth: str | None = None) -> None:
        """Work until the end of the run; then say good-bye.

        Args:
            ending: When that is.
            waker: Ends a wait for traffic.
            birth: Topic whose `online` asks for all retained topics again.

        Raises:
            ConnectionLostError: The connection has ended.
            sqlite3.Error: The disk fails.
        """
        self._look_at_limits()
        if birth is not None:
            self._connection.subscribe(birth)
        self._announce()
        while True:
            stopping = ending.stopping()  # first: what was retained before the stop is then sent
            self._send_changed()
            self._window.pump()
            if ending.finished() or (stopping and self._outbox.depth().rows == 0):
                break
            self._poll(IDLE_S, waker)
            if self._again_at is not None and self._clock.monotonic() >= self._again_at:
                self._again_at = None
                self._announce()
        self._say_goodbye()

    def born(self) -> None:
        """Home Assistant has started: tell it everything again, a little later."""
        self._again_at = self._clock.monotonic() + _random.uniform(0.0, BIRTH_PAUSE_S)

    def _look_at_limits(self) -> None:
        limits = self._connection.limits
        if limits.qos < 1:
            raise PublishingBlockedError(
                "the broker takes no message at QoS 1, so it can acknowledge none (max_qos)"
            )
        if not limits.retain and not self._tally.retain_missing:
            _log.warning("mqtt_no_retain", effect="states are seen only when they change")
        self._tally.retain_missing = not limits.retain

    def _announce(self) -> None:
        """All retained states as they are now, then `online`."""
        self._retained.all_again()
        self._send_changed()
        self._send(self._topics.status, RetainedValue(ONLINE))

    def _send_changed(self) -> None:
        for topic, value in self._retained.take_changed():
            self._send(topic, value)

    def _send(self, topic: str, value: RetainedValue) -> None:
        """Publish as soon as the broker allows one more."""
        for payload in (value.before, value.payload):
            if payload is None:
                continue
            if not self._connection.limits.takes(topic, payload):
                _log.warning("mqtt_too_large", topic=topic, bytes=len(payload))
                return
            mid = self._publish(topic, payload)
            self._waiting[mid] = (topic, value.taken)

    def _publish(self, topic: str, payload: Payload) -> int:
        while self._connection.room <= 0:
            self._poll(IDLE_S)
        retain = self._connection.limits.retain
        return self._connection.publish(topic, payload, retain=retain)

    def _poll(self, timeout_s: float, waker: Waker | None = None) -> Sequence[Ack]:
        acks = self._connection.poll(timeout_s, waker)
        self._note_retained(acks)
        taken, unheard = self._window.settle(acks)
        self._tally.delivered += taken
        self._tally.unheard += unheard
        return acks

    def _note_retained(self, acks: Sequence[Ack]) -> None:
        for ack in acks:
            topic, taken = self._waiting.pop(ack.mid, ("", None))
            if taken is None:
                continue
            if ack.code >= REFUSED_FROM:
                _log.warning("mqtt_topic_refused", topic=topic, reason=f"0x{ack.code:02x}")
            else:
                taken()

    def _say_goodbye(self) -> None:
        if self._connection.room <= 0:
            return  # a broker that takes nothing: its last will says it
        retain = self._connection.limits.retain
        mid = self._connection.publish(self._topics.status, OFFLINE, retain=retain)
        deadline = self._clock.monotonic() + GOODBYE_S
        while (left := deadline - self._clock.monotonic()) > 0:
            if any(ack.mid == mid for ack in self._poll(left)):
                break
        self._connection.disconnect()
