"""The newest events in a small file, so that the page still shows them after a restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import structlog

from edge.clock import Clock
from edge.events.event import end_after_restart
from edge.page.wire import Message
from engines.atomic import write_bytes
from engines.errors import VigilError

MAX_BYTES = 8 * 2**20

_log = structlog.get_logger()


class Journal:
    """Reads and replaces the file; what goes wrong is logged, for the list is only a convenience.

    Args:
        path: The file.
        clock: For the end of events that were open when the last run died.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def load(self) -> list[Message]:
        """The events of earlier runs, oldest first; those that never ended are ended."""
        try:
            with self._path.open("rb") as stream:
                events = json.loads(stream.read(MAX_BYTES))
            return [self._ended(_checked(event)) for event in events]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("page_events_not_read", file=str(self._path), error=str(error))
            return []

    def save(self, events: Sequence[Message]) -> None:
        """Replace the file by these events, oldest first."""
        try:
            write_bytes(self._path, json.dumps(events).encode())
        except VigilError as error:
            _log.warning("page_events_not_written", error=str(error))

    def _ended(self, event: Message) -> Message:
        if event["phase"] == "end":
            return event
        return end_after_restart(event, now=self._clock.utc(), clock=self._clock.state())


def _checked(event: Message) -> Message:
    """The event, if it has what a board needs.

    Raises:
        TypeError: It is no mapping, or a field is of another kind.
        KeyError: A field is missing.
    """
    wanted = {"id": str, "phase": str, "camera": str, "started_at": str, "rev": int}
    for key, kind in wanted.items():
        if not isinstance(event[key], kind):
            raise TypeError(f"{key} is no {kind.__name__}")
    return event
