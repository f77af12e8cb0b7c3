"""The subscriber's side: each message once, in words, and loss made visible.

What arrives was written by somebody else: it may be anything, of any size. Nothing in it can break
the reader or reach a terminal as control characters.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard
from uuid import uuid4

from edge.publish.address import BrokerAddress, Login
from edge.publish.connection import Connection, ConnectionLostError
from edge.publish.protocol import ProtocolChoice, await_answer
from edge.publish.tls import TlsFiles
from engines.errors import RefusedError, UnavailableError

MAX_MESSAGE_BYTES = 256 * 1024
_MAX_STREAMS = 1000
_MAX_STREAM_ID = 64  # letters; ours have 36
_MAX_SEQ = 2**63 - 1  # what the sender's database can count to
_MAX_DEPTH = 16  # of nested lists and objects; ours have 3
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
        expected = first if payload["phase"] == "gap" and _is_seq(first) else seq
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
        tls: Files for TLS.
    """

    def __init__(
        self, *, address: BrokerAddress, login: Login, topic: str, tls: TlsFiles | None = None
    ) -> None:
        self._address = address
        self._login = login
        self._topic = topic
        self._tls = tls or TlsFiles()
        self._protocol = ProtocolChoice()
        self._reader = Reader()
        self._inbox: deque[Heard] = deque()

    def listen(self, *, timeout_s: float | None = None) -> Iterator[Heard]:
        """Messages and remarks as they come; ends after `timeout_s`, if given.

        Raises:
            UnavailableError: The first connection fails; later ones are tried again.
            RefusedError: The broker lets us in and will not send anything.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        reached = False
        while deadline is None or time.monotonic() < deadline:
            try:
                for heard in self._one_connection(deadline):
                    reached = True
                    yield heard
            except ConnectionLostError as error:
                if self._protocol.other_after(error):
                    continue
                self._protocol.failed()
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
            protocol=self._protocol.current,
            tls=self._tls,
            on_message=self._on_message,
        ) as connection:
            await_answer(connection, self._protocol)
            connection.subscribe(self._topic)
            yield Heard(f"listening at {self._address} for {printable(self._topic)}")
            while deadline is None or time.monotonic() < deadline:
                left = _POLL_S if deadline is None else deadline - time.monotonic()
                connection.poll(max(0.0, min(_POLL_S, left)))
                self._require_subscription(connection)
                while self._inbox:
                    yield self._inbox.popleft()

    def _require_subscription(self, connection: Connection) -> None:
        if connection.subscription_refused is not None:
            raise RefusedError(
                f"the broker does not let us listen ({connection.subscription_refused})",
                where=f"{self._address}, {printable(self._topic)}",
                mend="give this user the right to read the topic in the broker's access list",
            )

    def _on_message(self, topic: str, payload: bytes, _retained: bool) -> None:
        self._inbox.extend(self._reader.read(topic, payload))


def describe(payload: dict[str, Any]) -> str:
    """One line for people about one message."""
    get = payload.get
    if payload["phase"] == "gap":
        which = f"{get('from_seq')} to {get('to_seq')}"
        line = f"{get('at')}  {get('device')}  GAP  messages {which} were dropped: {get('reason')}"
        return printable(line)
    words = [f"{get('at')}  {get('device')}/{get('camera')}  {str(payload['phase']).upper():<6}"]
    if get("kind") == "camera":
        return printable("  ".join([*words, *_fault_words(payload)]))
    words.append(f"peak {_number(get('peak_score'))} (threshold {_number(get('threshold'))})")
    if payload["phase"] == "end":
        words.append(f"after {_number(get('duration_s'))} s, {get('reason')}")
    words.append(f"at {_number(get('started_position_s'))} s")
    words.append(str(get("why")))
    snapshot = get("snapshot")
    if isinstance(snapshot, dict):
        words.append(str(snapshot.get("path")))
    return printable("  ".join(words))


def _fault_words(payload: dict[str, Any]) -> list[str]:
    if payload["phase"] == "end":
        over = f"camera fault over: {payload.get('reason')}"
        return [over, f"after {_number(payload.get('duration_s'))} s"]
    return [f"CAMERA {payload.get('why')}"]


def printable(text: str) -> str:
    """`text` without control characters, at most 500 characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:500])


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12:
        return "?"
    return f"{value:.2f}"


def _is_seq(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= _MAX_SEQ


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is larger than any number of ours")
    return value


def _depth(value: object, *, allowed: int) -> int:
    """Levels of lists and objects in `value`; more than `allowed` are not counted on."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if allowed <= 0:
        return 1
    return 1 + max((_depth(one, allowed=allowed - 1) for one in inner), default=0)


def _parse(raw: bytes) -> dict[str, Any] | None:
    """A message with what every message has, or None."""
    if len(raw) > MAX_MESSAGE_BYTES:
        return None
    try:
        payload = json.loads(raw, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict) or _depth(payload, allowed=_MAX_DEPTH) > _MAX_DEPTH:
        return None
    stream = payload.get("stream_id")
    right = (
        isinstance(stream, str)
        and len(stream) <= _MAX_STREAM_ID
        and _is_seq(payload.get("seq"))
        and payload.get("phase") in ("start", "update", "end", "gap")
    )
    return payload if right else None
