"""Which version of MQTT a broker is spoken to in: 5, and 3.1.1 if it cannot do that."""

from __future__ import annotations

from edge.publish.connection import (
    BAD_PROTOCOL,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
    Protocol,
)


class NoAnswerError(ConnectionLostError):
    """Something listens there, but it has not answered CONNECT."""


class ProtocolChoice:
    """The version to use next.

    Args:
        fixed: By configuration; None: to be found out.
    """

    def __init__(self, fixed: Protocol | None = None) -> None:
        self.current: Protocol = fixed or "5"
        self.known = fixed is not None
        """The broker has accepted this version, or it was given; it is not doubted again."""

    def accepted(self) -> None:
        """The broker has answered in this version."""
        self.known = True

    def other_after(self, error: ConnectionLostError) -> bool:
        """Whether to try the older version at once: the broker asks for it, or keeps silent.

        Some old brokers cannot read a CONNECT of MQTT 5 with a will and just say nothing.
        """
        refused = isinstance(error, ConnectionRefusedByBrokerError) and error.code == BAD_PROTOCOL
        silent = isinstance(error, NoAnswerError)
        if self.known or self.current == "3.1.1" or not (refused or silent):
            return False
        self.current = "3.1.1"
        return True

    def failed(self) -> None:
        """No connection in either version: begin again with the newer one."""
        if not self.known:
            self.current = "5"
