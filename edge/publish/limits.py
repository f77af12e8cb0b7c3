"""What a broker says at the connect that it can do (MQTT 5; an older one says nothing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RECEIVE_MAXIMUM = 65_535
# Fixed header with a length of four bytes, length of the topic, packet identifier, length of the
# properties, message expiry: nothing else surrounds topic and payload of what we send.
_AROUND_PAYLOAD = 1 + 4 + 2 + 2 + 1 + 5


@dataclass(frozen=True)
class BrokerLimits:
    """Limits of one connection.

    Attributes:
        receive: Publishes at QoS 1 that may be under way.
        packet_bytes: Largest packet; None: the broker names no limit.
        retain: Retained messages are possible.
        qos: Highest quality of service.
    """

    receive: int = RECEIVE_MAXIMUM
    packet_bytes: int | None = None
    retain: bool = True
    qos: int = 2

    @classmethod
    def of(cls, properties: Any) -> BrokerLimits:
        """From the properties of CONNACK; None (MQTT 3.1.1): no limit is known."""
        return cls(
            receive=int(getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)),
            packet_bytes=getattr(properties, "MaximumPacketSize", None),
            retain=bool(getattr(properties, "RetainAvailable", 1)),
            qos=int(getattr(properties, "MaximumQoS", 2)),
        )

    def takes(self, topic: str, payload: str | bytes) -> bool:
        """Whether a message is small enough; a broker ends the connection at a larger one."""
        if self.packet_bytes is None:
            return True
        size = len(payload.encode()) if isinstance(payload, str) else len(payload)
        return _AROUND_PAYLOAD + len(topic.encode()) + size <= self.packet_bytes
