"""Which version of MQTT a broker is spoken to in: 5, and 3.1.1 if it cannot do that."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.publish.connection import (
    BAD_PROTOCOL,
    Connection,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
    Protocol,
)

ANSWER_S = 10.0  # for CONNACK
FIRST_ANSWER_S = 3.0  # while it is not known which version of MQTT the broker can read
_LOOK_S = 0.5


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


def await_answer(
    connection: Connection,
    choice: ProtocolChoice,
    *,
    now: Callable[[], float] = time.monotonic,
    given_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until the broker has accepted a connection.

    Args:
        connection: Opened.
        choice: The version that it speaks; known from now on.
        now: Monotonic seconds.
        given_up: Whether nobody wants it any more.

    Raises:
        ConnectionRefusedByBrokerError: The broker does not want us.
        NoAnswerError: It says nothing in time, or ends the connection without a word.
    """
    allowed_s = ANSWER_S if choice.known else FIRST_ANSWER_S
    deadline = now() + allowed_s
    while not connection.established:
        left = deadline - now()
        if left <= 0 or given_up():
            raise NoAnswerError(f"no answer within {allowed_s:g} s")
        try:
            connection.poll(min(left, _LOOK_S))
        except ConnectionRefusedByBrokerError:
            raise
        except ConnectionLostError as error:
            raise NoAnswerError(str(error)) from error
    choice.accepted()
