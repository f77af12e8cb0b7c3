"""Retained topics: the newest value of each, to be sent now and again on every connect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

Payload = str | bytes


def _nothing() -> None:
    """No word is asked for."""


@dataclass(frozen=True)
class RetainedValue:
    """What a topic shall hold.

    Attributes:
        payload: The value; empty: the topic shall be forgotten.
        before: Sent once before it, as a value that must have been there (see
            `edge.publish.home_assistant`).
        taken: Called in the publisher's thread when the broker has taken the value.
    """

    payload: Payload
    before: Payload | None = None
    taken: Callable[[], None] = _nothing


class Retained:
    """The values, and which of them the broker does not know yet. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, RetainedValue] = {}
        self._others: dict[str, RetainedValue] = {}
        self._changed: set[str] = set()

    def put(self, topic: str, value: RetainedValue, *, first: bool = False) -> bool:
        """Set a value; False: the topic has it already.

        Args:
            topic: Where.
            value: What.
            first: Sent before those that are not `first`.
        """
        where = self._first if first else self._others
        with self._lock:
            known = where.get(topic)
            if known is not None and known.payload == value.payload:
                return False
            where[topic] = value
            self._changed.add(topic)
            return True

    def all_again(self) -> None:
        """Nothing counts as known to the broker any more."""
        with self._lock:
            self._changed = {*self._first, *self._others}

    def take_changed(self) -> list[tuple[str, RetainedValue]]:
        """What has to be sent, in this order; it counts as known from now on."""
        with self._lock:
            taken = [
                (topic, values[topic])
                for values in (self._first, self._others)
                for topic in sorted(values)
                if topic in self._changed
            ]
            self._changed.clear()
            return taken
