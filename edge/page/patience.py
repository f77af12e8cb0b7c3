"""HTTP connections with limits: a client that dawdles cannot keep one for ever, nor take them all.

uvicorn limits only the pause between two requests. Here a request, with its body, must be complete
after `REQUEST_S`, and a client that takes nothing of an answer for `STUCK_S` is cut off. One
address has at most `PER_ADDRESS` connections; this machine, where a proxy may be, is not counted.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0
STUCK_S = 20.0
PER_ADDRESS = 24
"""Four browsers behind one address."""

_INCOMPLETE = (h11.IDLE, h11.SEND_BODY)


class PatientProtocol(H11Protocol):
    """uvicorn's protocol with limits on time and number."""

    _incomplete: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request must come soon."""
        super().connection_made(transport)
        if self._too_many():
            transport.abort()
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A request that has begun must be completed soon."""
        super().data_received(data)
        if self.conn.their_state in _INCOMPLETE:
            self._expect()
        else:
            self._expect_nothing()

    def pause_writing(self) -> None:
        """The client does not read what was sent."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._unstick()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._expect_nothing()
        self._unstick()
        super().connection_lost(exc)

    def _too_many(self) -> bool:
        address = self.client[0] if self.client else None
        if address is None or _is_this_machine(address):
            return False
        others: list[tuple[str, int] | None] = [
            getattr(one, "client", None) for one in self.connections
        ]
        count = sum(one is not None and one[0] == address for one in others)
        return count > PER_ADDRESS

    def _expect(self) -> None:
        if self._incomplete is None and not self.transport.is_closing():
            self._incomplete = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._incomplete is not None:
            self._incomplete.cancel()
            self._incomplete = None

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
