"""Wall times of messages that were made before the clock was right, mended before they are sent.

Many devices boot without a battery clock, in 1970 or when they were last switched off. With such a
message the distance between wall clock and monotonic clock is kept. Once the clock is right, and
in the same run of the kernel, the distance has changed by just the error of the message's times.
"""

from __future__ import annotations

import datetime
import json

from edge.clock import Clock, rfc3339
from edge.events.happening import Payload

_TIMES = ("started_at", "at", "ended_at")


def distance_s(clock: Clock) -> float:
    """Wall clock minus monotonic clock."""
    return clock.utc().timestamp() - clock.monotonic()


def needs_repair(payload: Payload) -> bool:
    """Whether the wall clock was not known to be right."""
    return payload.get("clock") == "unsynced"


def repaired(text: str, *, error_s: float) -> str:
    """A message with its wall times put right.

    Args:
        text: Its JSON.
        error_s: What its times lack.
    """
    payload: Payload = json.loads(text)
    for key in _TIMES:
        said = payload.get(key)
        if isinstance(said, str):
            payload[key] = rfc3339(_moment(said) + datetime.timedelta(seconds=error_s))
    payload["clock"] = "synced"
    return json.dumps(payload, separators=(",", ":"), allow_nan=False)


def _moment(text: str) -> datetime.datetime:
    """RFC 3339 as we write it; Python before 3.11 does not know the Z."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
