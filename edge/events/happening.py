"""What all messages with a beginning and an end have in common: events and faults of cameras."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal

from edge.clock import ClockState, rfc3339
from edge.frames import Phase

SCHEMA_VERSION = 1

Payload = dict[str, Any]
"""A JSON object as Python values."""


@dataclass(frozen=True)
class Happening:
    """One message about something that begins, goes on and ends. `*_s` are seconds.

    Attributes:
        id: UUIDv7, the same from start to end.
        phase: "start", "update" or "end".
        rev: 1 at the start, +1 with each message.
        device: Name of the device.
        camera: Name of the camera.
        started_at: Wall clock at which it began, UTC.
        at: Wall clock of this message's news.
        ended_at: Wall clock at which it was over; only at the end.
        duration_s: How long it has lasted, on a clock that does not jump.
        reason: Why it ended; only at the end.
        clock: Whether the wall clock is known to be right.
    """

    id: str
    phase: Phase
    rev: int
    device: str
    camera: str
    started_at: datetime.datetime
    at: datetime.datetime
    ended_at: datetime.datetime | None
    duration_s: float
    reason: str | None
    clock: ClockState

    def header(
        self, *, kind: Literal["anomaly", "camera"], severity: Literal["low", "alarm"]
    ) -> Payload:
        """The fields of `event.schema.json` that events and faults share."""
        return {
            "schema_version": SCHEMA_VERSION,
            "id": self.id,
            "phase": self.phase,
            "rev": self.rev,
            "kind": kind,
            "severity": severity,
            "device": self.device,
            "camera": self.camera,
            "started_at": rfc3339(self.started_at),
            "at": rfc3339(self.at),
            "ended_at": None if self.ended_at is None else rfc3339(self.ended_at),
            "duration_s": round(self.duration_s, 3),
            "reason": self.reason,
            "clock": self.clock,
        }
