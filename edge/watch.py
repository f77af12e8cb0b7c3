"""The subscriber's side: each message once, in words, and loss made visible.

What arrives was written by somebody else: it may be anything, of any size. Nothing in it can break
the reader or reach a terminal as control characters.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from edge.publish.address import BrokerAddress, Login
from edge.publish.connection import (
    BAD_PROTOCOL,
    Connection,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
    Protocol,
)
from edge.publish.tls import TlsFiles
from engines.errors import UnavailableError

MAX_MESSAGE_BYTES = 256 * 1024
_MAX_STREAMS = 1000
_ANSWER_S = 10.0
_RETRY_S = 1.0
_POLL_S = 0.5


@dataclass(frozen=True)
class Heard:
    """A message, or a remark (`payload` None).

    Attributes:
        line: For people; printable characters only.
        payload: The message as parsed.
        text: The message as one line of JSON.
    """

    line: str
    payload: dict[str, Any] | None = None
    text: str = ""


class Reader:
    """Messages to lines: drops repeats, notices jumps. Knows no network."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def read(self, topic: str, raw: bytes) -> list[Heard]:
        """What one message means; nothing if it is a repeat."""
        payload = _parse(raw)
        if payload is None:
            return [Heard(f"{printable(topic)}: a message that is no vigil event was left out")]
        remarks = self._count(payload)
        if remarks is None:
            return []
        text = json.dumps(payload, ensure_ascii=True, separators=(",", ":"))
        return [*remarks, Heard(describe(payload), payload, text)]

    def _count(self, payload: dict[str, Any]) -> list[Heard] | None:
        """Remarks on the number of a message; None: it was heard before."""
        stream, seq = payload["stream_id"], payload["seq"]
        last = self._last.get(stream)
        if last is not None and seq <= last:
            # A gap that took the place of a refused message may come after its successors.
            return [] if payload["phase"] == "gap" else None
        self._last[stream] = seq
        if len(self._last) > _MAX_STREAMS:
            self._last.pop(next(iter(self._last)))
        first = payload.get("from_seq")
        expected = seq if payload["phase"] != "gap" or not isinstance(first, int) else first
        if last is None or expected <= last + 1:
            return []
        device = printable(str(payload.get("device", "?")))
        return [Heard(f"{device}: {expected - last - 1} message(s) before this one did not arrive")]


class Watcher:
    """Listens at a broker, for as long as the caller wants.

    Args:
        address: The broker.
        login: As whom.
        topic: What to subscribe to; may hold wildcards.
        ca_file: Certificate authority for TLS; the system's if None.
    """

    def __init__(
        self, *, address: BrokerAddress, login: Login, topic: str, ca_file: Path | None = None
    ) -> None:
        self._address = address
        self._login = login
        self._topic = topic
        self._tls = TlsFiles(ca_file=ca_file)
        self._protocol: Protocol = "5"
        self._reader = Reader()
        self._inbox: deque[Heard] = deque()

    def listen(self, *, timeout_s: float | None = None) -> Iterator[Heard]:
        """Messages and remarks as they come; ends after `timeout_s`, if given.

        Raises:
            UnavailableError: The first connection fails; later ones are tried again.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        reached = False
        while deadline is None or time.monotonic() < deadline:
            try:
                for heard in self._one_connection(deadline):
                    reached = True
                    yield heard
            except ConnectionLostError as error:
                if self._older_protocol(error):
                    continue
                if not reached:
                    raise UnavailableError(
                        f"the broker cannot be reached: {error}",
                        where=str(self._address),
                        mend="start it (for a try: mosquitto -v), or check address and login",
                    ) from error
                yield Heard(f"{self._address}: {error}; trying again")
                time.sleep(_RETRY_S)

    def _one_connection(self, deadline: float | None) -> Iterator[Heard]:
        with Connection(
            address=self._address,
            login=self._login,
            client_id=f"vigil-watch-{uuid4().hex[:12]}",
            protocol=self._protocol,
            tls=self._tls,
            on_message=self._on_message,
        ) as connection:
            answer_by = time.monotonic() + _ANSWER_S
            while not connection.established:
                if time.monotonic() > answer_by:
                    raise ConnectionLostError(f"no answer within {_ANSWER_S:g} s")
                connection.poll(_POLL_S)
            connection.subscribe(self._topic)
            yield Heard(f"listening at {self._address} for {printable(self._topic)}")
            while deadline is None or time.monotonic() < deadline:
                left = _POLL_S if deadline is None else deadline - time.monotonic()
                connection.poll(max(0.0, min(_POLL_S, left)))
                while self._inbox:
                    yield self._inbox.popleft()

    def _on_message(self, topic: str, payload: bytes, _retained: bool) -> None:
        self._inbox.extend(self._reader.read(topic, payload))

    def _older_protocol(self, error: ConnectionLostError) -> bool:
        refused = isinstance(error, ConnectionRefusedByBrokerError) and error.code == BAD_PROTOCOL
        if not refused or self._protocol == "3.1.1":
            return False
        self._protocol = "3.1.1"
        return True


def describe(payload: dict[str, Any]) -> str:
    """One line for people about one message."""
    get = payload.get
    if payload["phase"] == "gap":
        which = f"{get('from_seq')} to {get('to_seq')}"
        line = f"{get('at')}  {get('device')}  GAP  messages {which} were dropped: {get('reason')}"
        return printable(line)
    words = [f"{get('at')}  {get('device')}/{get('camera')}  {str(payload['phase']).upper():<6}"]
    words.append(f"peak {_number(get('peak_score'))} (threshold {_number(get('threshold'))})")
    if payload["phase"] == "end":
        words.append(f"after {_number(get('duration_s'))} s, {get('reason')}")
    words.append(f"at {_number(get('started_position_s'))} s")
    words.append(str(get("why")))
    snapshot = get("snapshot")
    if isinstance(snapshot, dict):
        words.append(str(snapshot.get("path")))
    return printable("  ".join(words))


def printable(text: str) -> str:
    """`text` without control characters, at most 500 characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:500])


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "?"


def _parse(raw: bytes) -> dict[str, Any] | None:
    """A message with what every message has, or None."""
    if len(raw) > MAX_MESSAGE_BYTES:
        return None
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    right = (
        isinstance(payload.get("stream_id"), str)
        and type(payload.get("seq")) is int
        and payload.get("phase") in ("start", "update", "end", "gap")
    )
    return payload if right else None
