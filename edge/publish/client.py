"""The paho client as we use it: no thread, no session, no queue, nothing sent a second time."""

from __future__ import annotations

from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.publish.address import Login

CONNECT_TIMEOUT_S = 5.0
# Publishes under way at most, events and retained ones; the broker may allow less. The library's
# limit cannot be changed once connected and it queues in silence, so nobody may send more.
UNDER_WAY = 32
# Nothing that we subscribe to is larger; a broker of MQTT 5 keeps larger messages from us.
LARGEST_BYTES = 2**20


@dataclass(frozen=True)
class Will:
    """What the broker publishes when this connection dies.

    Attributes:
        topic: Where.
        payload: What.
        delay_s: How long the broker waits for us to come back before it does (MQTT 5).
        retain: Kept for who subscribes later.
    """

    topic: str
    payload: str
    delay_s: int = 0
    retain: bool = True


def make_client(*, client_id: str, modern: bool, login: Login, will: Will | None) -> paho.Client:
    """A client for one connection; `modern`: MQTT 5, else 3.1.1."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        # No session: MQTT 5 starts clean by default.
        clean_session=None if modern else True,
        protocol=MQTTProtocolVersion.MQTTv5 if modern else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(UNDER_WAY)
    if login.username is not None:
        client.username_pw_set(login.username, login.password)
    if will is not None:
        delay = None
        if modern and will.delay_s:
            delay = Properties(PacketTypes.WILLMESSAGE)
            delay.WillDelayInterval = will.delay_s
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=delay)
    return client


def connect_properties(will: Will | None) -> Properties:
    """What we ask of a broker of MQTT 5."""
    wishes = Properties(PacketTypes.CONNECT)
    wishes.MaximumPacketSize = LARGEST_BYTES
    if will is not None and will.delay_s:
        # A will is held back only as long as its session lives. We start clean all the same.
        wishes.SessionExpiryInterval = will.delay_s
    return wishes


def expiring(seconds: int | None) -> Properties | None:
    """Properties of a message that the broker may drop after so long."""
    if seconds is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = seconds
    return properties
