"""Logging: one structured line per happening, on standard error, for people or for programs."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from edge.capture.redact import redact


def configure_logging(*, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Set up structlog for the process.

    Args:
        stream: Standard error if not given.
        as_json: JSON lines; if not given, unless `stream` is a terminal.
    """
    target = sys.stderr if stream is None else stream
    json_lines = not target.isatty() if as_json is None else as_json
    renderer: Any = structlog.processors.JSONRenderer(default=str)
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
            _redacted,
            renderer,
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
