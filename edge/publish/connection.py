"""One connection to a broker, from CONNECT to its end, driven by the caller's thread.

A paho client is made anew for each connection and has no thread of its own. So nothing is kept that
could be sent again behind our back, or in another order; callbacks run inside `poll`, where they
only note what happened; and no lock of the library can block us. The outbox is the only memory.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge.publish.address import BrokerAddress, Login
from edge.publish.client import UNDER_WAY, Will, connect_properties, expiring, make_client
from edge.publish.limits import BrokerLimits
from edge.publish.tls import TlsFiles
from edge.publish.waker import Waker

Protocol = Literal["5", "3.1.1"]

REFUSED_FROM = 0x80  # MQTT 5: reason codes from here on are refusals
BAD_PROTOCOL = 0x84
NO_RETAIN = 0x9A


class ConnectionLostError(Exception):
    """The connection could not be made, or has ended; the text says how."""


class ConnectionRefusedByBrokerError(ConnectionLostError):
    """The broker answered, and said no.

    Attributes:
        code: MQTT 5 reason code (3.1.1 codes are translated to it).
    """

    def __init__(self, reason: ReasonCode) -> None:
        super().__init__(str(reason))
        self.code = int(reason.value)


@dataclass(frozen=True)
class Ack:
    """A publish that the broker has answered; `code` below 0x80: it has taken the message."""

    mid: int
    code: int


class Connection:
    """One MQTT connection; ``with`` ends it without a word (the broker sends the will).

    Args:
        address: Where to.
        login: As whom.
        tls: Used if the address says so.
        client_id: Fixed for a device, so that a new connection ends a stale one.
        keepalive_s: Silence after which a ping is sent; twice as much ends the connection.
        protocol: MQTT version.
        will: Last will.
        on_message: Takes topic, payload and whether it was retained, inside `poll`.
    """

    def __init__(
        self,
        *,
        address: BrokerAddress,
        login: Login,
        client_id: str,
        protocol: Protocol,
        keepalive_s: int = 30,
        tls: TlsFiles | None = None,
        will: Will | None = None,
        on_message: Callable[[str, bytes, bool], None] | None = None,
    ) -> None:
        self._address = address
        self._keepalive_s = keepalive_s
        self._tls = tls or TlsFiles()
        self._acks: deque[Ack] = deque()
        self._answer: ReasonCode | None = None
        self._lost: str | None = None
        self._limits = BrokerLimits()
        self._under_way = 0
        self.subscription_refused: str | None = None
        """Why the broker will not send what was subscribed to; None: it has not said so."""
        self._modern = protocol == "5"
        self._will = will
        self._client = make_client(client_id=client_id, modern=self._modern, login=login, will=will)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        if on_message is not None:
            self._client.on_message = lambda _client, _data, message: on_message(
                message.topic, bytes(message.payload), message.retain
            )

    def __enter__(self) -> Connection:
        """Open the TCP (and TLS) connection and send CONNECT; the answer comes in `poll`.

        Raises:
            ConnectionLostError: No connection.
        """
        try:
            if self._address.tls:
                self._client.tls_set_context(self._tls.context())
            self._client.connect(
                self._address.host,
                self._address.port,
                self._keepalive_s,
                properties=connect_properties(self._will) if self._modern else None,
            )
        except (OSError, ValueError) as error:
            self.close()
            raise ConnectionLostError(str(error)) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def established(self) -> bool:
        """The broker has accepted us."""
        return self._answer is not None

    @property
    def room(self) -> int:
        """Publishes that may be sent before an acknowledgement has to come."""
        return min(UNDER_WAY, self._limits.receive) - self._under_way

    @property
    def limits(self) -> BrokerLimits:
        """What the broker can do."""
        return self._limits

    def publish(
        self,
        topic: str,
        payload: str | bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
    ) -> int:
        """Send at QoS 1; the number to be found in an `Ack`.

        Args:
            topic: Where.
            payload: What.
            retain: Kept by the broker for who comes later.
            expiry_s: After so long the broker need not deliver it any more (MQTT 5).

        Raises:
            ConnectionLostError: The connection has ended.
        """
        properties = expiring(expiry_s) if self._modern else None
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionLostError(self._lost or paho.error_string(info.rc))
        self._under_way += 1
        return info.mid

    def subscribe(self, topic: str) -> None:
        """Ask for messages at QoS 1.

        Raises:
            ConnectionLostError: The connection has ended.
        """
        code, _ = self._client.subscribe(topic, qos=1)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionLostError(self._lost or paho.error_string(code))

    def poll(self, timeout_s: float, waker: Waker | None = None) -> list[Ack]:
        """Wait for traffic at most so long, handle it; the acknowledgements that arrived.

        `waker` ends the waiting early.

        Raises:
            ConnectionRefusedByBrokerError: The broker does not want us.
            ConnectionLostError: The connection has ended.
        """
        sock = self._client.socket()
        if sock is None:
            raise ConnectionLostError(self._lost or "connection closed")
        poller = select.poll()
        if waker is not None:
            poller.register(waker, select.POLLIN)
        writing = select.POLLOUT if self._client.want_write() else 0
        poller.register(sock, select.POLLIN | writing)
        # Bytes that TLS has decrypted already do not show on the socket.
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        ready = dict(poller.poll(0 if buffered else timeout_s * 1000.0))
        self._handle(ready.get(sock.fileno(), 0), buffered=buffered)
        if waker is not None and waker.fileno() in ready:
            waker.clear()
        acks = list(self._acks)
        self._acks.clear()
        return acks

    def disconnect(self) -> None:
        """Say good-bye, so that the broker drops the will."""
        self._client.disconnect()
        self._client.loop_write()

    def close(self) -> None:
        """End the connection if it is still there, and free everything; may be called twice."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _handle(self, events: int, *, buffered: bool) -> None:
        try:
            code = self._exchange(events, buffered=buffered)
        except Exception as error:
            # Whatever the library makes of bytes that are no MQTT, for us it is a lost connection.
            said = f"the broker sent what is no MQTT ({type(error).__name__}: {error})"
            raise ConnectionLostError(said) from error
        if self._answer is not None and self._answer.value >= REFUSED_FROM:
            raise ConnectionRefusedByBrokerError(self._answer)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionLostError(self._lost or paho.error_string(code))

    def _exchange(self, events: int, *, buffered: bool) -> MQTTErrorCode:
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if buffered or events & ~select.POLLOUT:
            code = self._client.loop_read()
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and events & select.POLLOUT:
            code = self._client.loop_write()
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            code = self._client.loop_misc()
        return code

    def _on_connect(
        self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        self._answer = reason
        self._limits = BrokerLimits.of(properties)

    def _on_publish(
        self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self._under_way -= 1
        self._acks.append(Ack(mid=mid, code=int(reason.value)))

    def _on_subscribe(
        self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        refusals = [str(reason) for reason in reasons if reason.value >= REFUSED_FROM]
        self.subscription_refused = refusals[0] if refusals else self.subscription_refused

    def _on_disconnect(
        self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        said = flags.is_disconnect_packet_from_server
        self._lost = f"the broker says: {reason}" if said else "the connection was lost"
