"""Logging: one structured line per happening, on standard error, for people or for programs.

Warnings and errors say what mends them (`edge.log_mends`). Where standard error is the journal,
each line has its priority in front, as sd-daemon(3) says, so that `journalctl -p warning` works.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from edge.capture.redact import redact
from edge.log_mends import MENDS

_ALARMING = frozenset({"warning", "error", "exception", "critical"})
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}


def configure_logging(*, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Set up structlog for the process.

    Args:
        stream: Standard error if not given.
        as_json: JSON lines; if not given, unless `stream` is a terminal.
    """
    target = sys.stderr if stream is None else stream
    json_lines = not target.isatty() if as_json is None else as_json
    renderer: Any = structlog.processors.JSONRenderer(default=str)
    priority: list[Any] = [_with_priority] if _is_journal(target) else []
    if not json_lines:
        # Plain tracebacks: the pretty ones print local variables, and some of those are secrets.
        renderer = structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if json_lines else []),
            _with_mend,
            _redacted,
            renderer,
            *priority,
        ],
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def _redacted(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide the credentials of every URL in a line."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event


def _with_mend(
    _logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """What to do about a warning or an error, if the line does not say so itself."""
    mend = MENDS.get(str(event.get("event")))
    if method in _ALARMING and mend is not None and event.get("mend") is None:
        event["mend"] = mend
    return event


def _with_priority(_logger: Any, method: str, line: str) -> str:
    """`<4>...`; every line of a traceback, too, or the rest of it would have another priority."""
    priority = f"<{_PRIORITIES.get(method, 6)}>"
    return "\n".join(priority + part for part in line.split("\n"))


def _is_journal(stream: TextIO) -> bool:
    """Whether a stream is the journal's, by the `device:inode` in `JOURNAL_STREAM`."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
