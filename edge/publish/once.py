"""One message from a command, and its acknowledgement."""

from __future__ import annotations

import time
from uuid import uuid4

from edge.publish.connection import REFUSED_FROM, Connection, ConnectionLostError
from edge.publish.protocol import ProtocolChoice, await_answer
from edge.publish.publisher import BrokerSettings

_ACKNOWLEDGED_S = 10.0


def publish_retained(settings: BrokerSettings, topic: str, payload: str) -> None:
    """Connect, set a retained topic, wait until the broker has taken it, and leave.

    Raises:
        ConnectionLostError: It did not come to that.
    """
    protocol = ProtocolChoice(settings.protocol)
    while True:
        try:
            _publish(settings, protocol, topic, payload)
        except ConnectionLostError as error:
            if protocol.other_after(error):
                continue
            raise
        return


def _publish(settings: BrokerSettings, protocol: ProtocolChoice, topic: str, payload: str) -> None:
    with Connection(
        address=settings.address,
        login=settings.login,
        # Not the daemon's name: the broker would end the daemon's connection.
        client_id=f"vigil-once-{uuid4().hex[:12]}",
        protocol=protocol.current,
        tls=settings.tls,
    ) as connection:
        await_answer(connection, protocol)
        deadline = time.monotonic() + _ACKNOWLEDGED_S
        mid = connection.publish(topic, payload, retain=True)
        while time.monotonic() < deadline:
            for ack in connection.poll(0.5):
                if ack.mid == mid and ack.code >= REFUSED_FROM:
                    raise ConnectionLostError(f"the broker refuses it (reason 0x{ack.code:02x})")
                if ack.mid == mid:
                    connection.disconnect()
                    return
        raise ConnectionLostError("the message was not acknowledged")
