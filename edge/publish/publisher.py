"""The thread that carries messages from the outbox to the broker, for as long as the daemon runs.

Rules:

1. First connect and reconnect are one path, with a jittered, growing pause before each new try.
2. On every connect, in this order: all retained states as they are now, `status` = online, events
   from the oldest one on. Retained topics are latest-value and live in memory.
3. An event is deleted when the broker has acknowledged it, not earlier. Delivery is at least once.
4. A clean stop says `offline` itself; any other end leaves that to the last will.
"""

from __future__ import annotations

import sqlite3
import threading

import structlog

from edge.clock import Clock
from edge.publish.client import Will
from edge.publish.connection import (
    NO_RETAIN,
    Connection,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
)
from edge.publish.outbox_thread import OutboxThread
from edge.publish.pause import Pause
from edge.publish.protocol import ANSWER_S, ProtocolChoice, await_answer
from edge.publish.retained import Payload, Retained, RetainedValue
from edge.publish.session import GOODBYE_S, IDLE_S, OFFLINE, ONLINE, Session, Tally
from edge.publish.settings import BrokerSettings, PublisherState
from edge.publish.waker import Waker
from edge.publish.window import PublishingBlockedError
from engines.errors import VigilError

__all__ = ["BrokerSettings", "Publisher", "PublisherState"]

BLOCKED_S = 60.0  # pause after the broker refused us or our messages

_log = structlog.get_logger()


class Publisher:
    """Outbox to broker.

    Args:
        settings: The broker.
        outbox: Started before, closed after.
        clock: For deadlines.
    """

    def __init__(self, *, settings: BrokerSettings, outbox: OutboxThread, clock: Clock) -> None:
        self._settings = settings
        self._outbox = outbox
        self._clock = clock
        self._waker = Waker()
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._retained = Retained()
        self._session: Session | None = None
        self._tally = Tally()
        self._blocked = False
        self._stop = threading.Event()
        self._stop_at = 0.0
        self._protocol = ProtocolChoice(settings.protocol)
        self._connected = False
        self._connects = 0
        self._last_error: str | None = None
        self._log = _log.bind(broker=str(settings.address))

    @property
    def state(self) -> PublisherState:
        """What it has done so far."""
        return PublisherState(
            connected=self._connected,
            connects=self._connects,
            delivered=self._tally.delivered,
            last_error=self._last_error,
            unheard=self._tally.unheard,
            blocked=self._blocked,
            retain_missing=self._tally.retain_missing,
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox. May be called from any thread."""
        self._waker.wake()

    def retain(self, topic: str, payload: Payload) -> None:
        """Set a retained topic; sent now, and again on each connect."""
        self.retain_value(topic, RetainedValue(payload))

    def retain_value(self, topic: str, value: RetainedValue, *, first: bool = False) -> None:
        """As `retain`, with more to say; `first`: sent before those that are not."""
        if self._retained.put(topic, value, first=first):
            self._waker.wake()

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    def stop(self, *, flush_s: float) -> None:
        """Deliver what waits for at most `flush_s` seconds, say `offline`, end the thread."""
        self._stop_at = self._clock.monotonic() + flush_s
        self._stop.set()
        self._waker.wake()
        if self._thread.is_alive():
            # A connect that hangs in the resolver must not keep the process alive.
            self._thread.join(flush_s + GOODBYE_S + ANSWER_S)

    def hurry(self) -> None:
        """Shorten a running `stop`: deliver no more. May be called from a signal handler."""
        self._stop_at = self._clock.monotonic()

    def _work(self) -> None:
        try:
            pause = Pause(self._settings.reconnect_max_s)
            while not self._one_connection(pause) and not self.finished():
                self._rest(pause.seconds)
        except BaseException:  # noqa: BLE001  # a thread's top: logged; messages stay in the outbox
            self._last_error = "internal error"
            self._log.exception("publisher_failed")
        finally:
            self._waker.close()

    def _one_connection(self, pause: Pause) -> bool:
        """Connect and serve until the connection is lost (False) or the work is done (True)."""
        settings = self._settings
        try:
            with Connection(
                address=settings.address,
                login=settings.login,
                client_id=f"vigil-{settings.topics.device}",
                protocol=self._protocol.current,
                keepalive_s=settings.keepalive_s,
                tls=settings.tls,
                will=Will(
                    settings.topics.status,
                    OFFLINE,
                    settings.will_delay_s,
                    retain=not self._tally.retain_missing,
                ),
                on_message=self._on_message,
            ) as connection:
                self._await_answer(connection)
                pause.reset()
                self._session = Session(
                    connection=connection,
                    outbox=self._outbox,
                    retained=self._retained,
                    topics=settings.topics,
                    tally=self._tally,
                    clock=self._clock,
                )
                self._session.serve(self, self._waker, birth=settings.birth)
        except ConnectionLostError as error:
            self._note_loss(error, pause)
        except (sqlite3.Error, VigilError) as error:
            self._note_loss(ConnectionLostError(f"outbox: {error}"), pause)
        else:
            return True
        finally:
            self._connected = False
            self._session = None
        return False

    def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Inside `poll` of this thread; only the birth topic is subscribed."""
        asked = topic == self._settings.birth and payload == ONLINE.encode() and not retained
        if asked and self._session is not None:
            self._session.born()

    def _await_answer(self, connection: Connection) -> None:
        await_answer(connection, self._protocol, now=self._clock.monotonic, given_up=self.finished)
        self._connected = True
        self._connects += 1
        self._last_error = None
        self._blocked = False
        self._log.info(
            "mqtt_connected", protocol=self._protocol.current, waiting=self._outbox.depth().rows
        )

    def stopping(self) -> bool:
        """A stop was requested."""
        return self._stop.is_set()

    def finished(self) -> bool:
        """The time for delivering is over."""
        return self._stop.is_set() and self._clock.monotonic() >= self._stop_at

    def _note_loss(self, error: ConnectionLostError, pause: Pause) -> None:
        if self._protocol.other_after(error):
            self._log.info("mqtt_older_protocol", reason=str(error))
            pause.none()
            return
        refused = isinstance(error, ConnectionRefusedByBrokerError)
        no_retain = isinstance(error, ConnectionRefusedByBrokerError) and error.code == NO_RETAIN
        if no_retain and not self._tally.retain_missing:
            # Such a broker takes no connection with a will that it should retain.
            self._tally.retain_missing = True
            self._log.warning("mqtt_no_retain", effect="states are seen only when they change")
            pause.none()
            return
        blocked = refused or isinstance(error, PublishingBlockedError)
        self._blocked = blocked
        if blocked:
            pause.at_least(min(BLOCKED_S, self._settings.reconnect_max_s))
        else:
            pause.grow()
        self._protocol.failed()
        text = str(error)
        # The same failure again and again is told once; the state topic and summary carry it on.
        if text != self._last_error:
            self._log.warning(
                "mqtt_refused" if blocked else "mqtt_lost" if self._connected else "mqtt_absent",
                error=text,
                retry_s=round(pause.seconds, 1),
                kept_in_outbox=self._outbox.depth().rows,
            )
        self._last_error = text

    def _rest(self, seconds: float) -> None:
        """Pause before the next try; a stop shortens it, so that its time is used for trying."""
        deadline = self._clock.monotonic() + seconds
        while not self.finished():
            left = deadline - self._clock.monotonic()
            left = min(left, 0.2) if self._stop.is_set() else left
            if left <= 0:
                return
            if self._stop.wait(min(left, IDLE_S)):
                threading.Event().wait(min(0.2, left))
                return
