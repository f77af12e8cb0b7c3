"""What the publisher is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.publish.address import BrokerAddress, Login, Topics
from edge.publish.connection import Protocol
from edge.publish.tls import TlsFiles


@dataclass(frozen=True)
class BrokerSettings:
    """How to reach the broker.

    Attributes:
        address: Where it listens.
        topics: Of this device.
        login: User and password.
        tls: For addresses with TLS.
        protocol: None: MQTT 5, and 3.1.1 if the broker cannot do that.
        keepalive_s: Silence after which the connection is tested.
        reconnect_max_s: Longest pause between attempts to connect.
        will_delay_s: How long the broker waits for us to come back before it says `offline`.
        birth: Topic whose `online` asks for all retained topics again; None: nobody asks.
    """

    address: BrokerAddress
    topics: Topics
    login: Login = field(default_factory=Login)
    tls: TlsFiles = field(default_factory=TlsFiles)
    protocol: Protocol | None = None
    keepalive_s: int = 30
    reconnect_max_s: float = 60.0
    will_delay_s: int = 5
    birth: str | None = None


@dataclass(frozen=True)
class PublisherState:
    """What the publisher has done so far.

    Attributes:
        connected: Now.
        connects: How often.
        delivered: Event messages that the broker has taken.
        last_error: Of the newest attempt or connection.
        unheard: Event messages for which the broker had no subscriber (MQTT 5).
        blocked: The broker is there and takes nothing from us.
        retain_missing: The broker cannot retain, so states are seen only when they change.
    """

    connected: bool
    connects: int
    delivered: int
    last_error: str | None
    unheard: int = 0
    blocked: bool = False
    retain_missing: bool = False
