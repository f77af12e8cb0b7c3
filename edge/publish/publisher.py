"""The thread that carries messages from the outbox to the broker, for as long as the daemon runs.

Rules:

1. First connect and reconnect are one path, with a jittered, growing pause before each new try.
2. On every connect, in this order: all retained states as they are now, `status` = online, events
   from the oldest one on. Retained topics are latest-value and live in memory.
3. An event is deleted when the broker has acknowledged it, not earlier. Delivery is at least once.
4. A clean stop says `offline` itself; any other end leaves that to the last will.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from dataclasses import dataclass, field

import structlog

from edge.clock import Clock
from edge.publish.address import BrokerAddress, Login, Topics
from edge.publish.connection import (
    BAD_PROTOCOL,
    Connection,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
    Protocol,
    TlsFiles,
    Will,
)
from edge.publish.outbox_thread import OutboxThread
from edge.publish.waker import Waker
from edge.publish.window import PublishingBlockedError, Window
from engines.errors import VigilError

ONLINE, OFFLINE = "online", "offline"
ANSWER_S = 10.0  # for CONNACK
FIRST_ANSWER_S = 3.0  # while it is not known which version of MQTT the broker can read
GOODBYE_S = 2.0  # for the acknowledgement of `offline`
BLOCKED_S = 60.0  # pause after the broker refused us or our messages
_IDLE_S = 1.0  # the library wants to look at its keep-alive timer that often

_random = secrets.SystemRandom()
_log = structlog.get_logger()


@dataclass(frozen=True)
class BrokerSettings:
    """How to reach the broker. `protocol` None: MQTT 5, and 3.1.1 if the broker cannot do that."""

    address: BrokerAddress
    topics: Topics
    login: Login = field(default_factory=Login)
    tls: TlsFiles = field(default_factory=TlsFiles)
    protocol: Protocol | None = None
    keepalive_s: int = 30
    reconnect_max_s: float = 60.0


@dataclass(frozen=True)
class PublisherState:
    """What the publisher has done so far."""

    connected: bool
    connects: int
    delivered: int
    last_error: str | None


class _NoAnswerError(ConnectionLostError):
    """Something listens there, but it has not answered CONNECT."""


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
        self._lock = threading.Lock()
        self._retained: dict[str, str] = {}
        self._changed: set[str] = set()
        self._stop = threading.Event()
        self._stop_at = 0.0
        self._protocol: Protocol = settings.protocol or "5"
        self._protocol_known = settings.protocol is not None
        self._connected = False
        self._connects = self._delivered = 0
        self._last_error: str | None = None
        self._log = _log.bind(broker=str(settings.address))

    @property
    def state(self) -> PublisherState:
        """What it has done so far."""
        return PublisherState(self._connected, self._connects, self._delivered, self._last_error)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox. May be called from any thread."""
        self._waker.wake()

    def retain(self, topic: str, payload: str) -> None:
        """Set a retained topic; sent now, and again on each connect."""
        with self._lock:
            if self._retained.get(topic) == payload:
                return
            self._retained[topic] = payload
            self._changed.add(topic)
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
            pause = _Pause(self._settings.reconnect_max_s)
            while not self._one_connection(pause) and not self._finished():
                self._rest(pause.seconds)
        except BaseException:  # noqa: BLE001  # a thread's top: logged; messages stay in the outbox
            self._last_error = "internal error"
            self._log.exception("publisher_failed")
        finally:
            self._waker.close()

    def _one_connection(self, pause: _Pause) -> bool:
        """Connect and serve until the connection is lost (False) or the work is done (True)."""
        settings = self._settings
        try:
            with Connection(
                address=settings.address,
                login=settings.login,
                client_id=f"vigil-{settings.topics.device}",
                protocol=self._protocol,
                keepalive_s=settings.keepalive_s,
                tls=settings.tls,
                will=Will(settings.topics.status, OFFLINE),
            ) as connection:
                self._await_answer(connection)
                pause.reset()
                self._serve(connection)
        except ConnectionLostError as error:
            self._note_loss(error, pause)
        except (sqlite3.Error, VigilError) as error:
            self._note_loss(ConnectionLostError(f"outbox: {error}"), pause)
        else:
            return True
        finally:
            self._connected = False
        return False

    def _await_answer(self, connection: Connection) -> None:
        allowed_s = ANSWER_S if self._protocol_known else FIRST_ANSWER_S
        deadline = self._clock.monotonic() + allowed_s
        try:
            while not connection.established:
                left = deadline - self._clock.monotonic()
                if left <= 0 or self._finished():
                    raise _NoAnswerError(f"no answer within {allowed_s:g} s")
                connection.poll(min(left, _IDLE_S))
        except ConnectionRefusedByBrokerError:
            raise
        except ConnectionLostError as error:
            raise _NoAnswerError(str(error)) from error
        self._protocol_known = True
        self._connected = True
        self._connects += 1
        self._last_error = None
        self._log.info("mqtt_connected", protocol=self._protocol, waiting=self._outbox.depth().rows)

    def _serve(self, connection: Connection) -> None:
        window = Window(self._outbox, connection)
        with self._lock:
            self._changed = set(self._retained)
        self._send_retained(connection, window)
        self._send(connection, window, self._settings.topics.status, ONLINE)
        while True:
            window.pump()
            if self._finished() or (self._stop.is_set() and self._drained(window)):
                break
            self._delivered += window.settle(connection.poll(_IDLE_S, self._waker))
            self._send_retained(connection, window)
        self._say_goodbye(connection, window)

    def _send_retained(self, connection: Connection, window: Window) -> None:
        with self._lock:
            topics = sorted(self._changed)
            self._changed.clear()
            messages = [(topic, self._retained[topic]) for topic in topics]
        for topic, payload in messages:
            self._send(connection, window, topic, payload)

    def _send(self, connection: Connection, window: Window, topic: str, payload: str) -> int:
        """Publish something retained as soon as the broker allows one more."""
        while connection.room <= 0:
            self._delivered += window.settle(connection.poll(_IDLE_S))
        return connection.publish(topic, payload, retain=True)

    def _drained(self, window: Window) -> bool:
        return len(window) == 0 and self._outbox.depth().rows == 0

    def _say_goodbye(self, connection: Connection, window: Window) -> None:
        if connection.room <= 0:
            return  # a broker that takes nothing: its last will says it
        mid = connection.publish(self._settings.topics.status, OFFLINE, retain=True)
        deadline = self._clock.monotonic() + GOODBYE_S
        while (left := deadline - self._clock.monotonic()) > 0:
            acks = connection.poll(left)
            self._delivered += window.settle(acks)
            if any(ack.mid == mid for ack in acks):
                break
        connection.disconnect()

    def _finished(self) -> bool:
        return self._stop.is_set() and self._clock.monotonic() >= self._stop_at

    def _note_loss(self, error: ConnectionLostError, pause: _Pause) -> None:
        if self._other_protocol(error):
            pause.none()
            return
        blocked = isinstance(error, ConnectionRefusedByBrokerError | PublishingBlockedError)
        if blocked:
            pause.at_least(min(BLOCKED_S, self._settings.reconnect_max_s))
        else:
            pause.grow()
        if not self._protocol_known:
            self._protocol = "5"  # the older one has not worked either
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

    def _other_protocol(self, error: ConnectionLostError) -> bool:
        """Whether to try the other version: the broker says so, or keeps silent at the first one.

        Some old brokers cannot read a CONNECT of MQTT 5 with a will and just say nothing.
        """
        refused = isinstance(error, ConnectionRefusedByBrokerError) and error.code == BAD_PROTOCOL
        silent = isinstance(error, _NoAnswerError)
        if self._protocol_known or self._protocol == "3.1.1" or not (refused or silent):
            return False
        self._protocol = "3.1.1"
        self._log.info("mqtt_older_protocol", protocol=self._protocol, reason=str(error))
        return True

    def _rest(self, seconds: float) -> None:
        """Pause before the next try; a stop shortens it, so that its time is used for trying."""
        deadline = self._clock.monotonic() + seconds
        while not self._finished():
            left = deadline - self._clock.monotonic()
            left = min(left, 0.2) if self._stop.is_set() else left
            if left <= 0:
                return
            if self._stop.wait(min(left, _IDLE_S)):
                threading.Event().wait(min(0.2, left))
                return


class _Pause:
    """Seconds before the next try, with jitter: a site's devices must not return all at once."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self.seconds = 0.0

    def reset(self) -> None:
        """It worked: the next pause is a first one again, at random within five seconds."""
        self.seconds = 0.0

    def grow(self) -> None:
        """It failed (again)."""
        low = 0.0 if self.seconds == 0.0 else 1.0
        self.seconds = min(self._longest_s, _random.uniform(low, max(5.0, 3.0 * self.seconds)))

    def at_least(self, seconds: float) -> None:
        """A longer pause."""
        self.seconds = max(self.seconds, seconds)

    def none(self) -> None:
        """Try again at once."""
        self.seconds = 0.0
