"""The JSON of messages as they lie in the outbox: numbered event messages, and gap messages."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edge.clock import Clock, rfc3339
from edge.events.happening import SCHEMA_VERSION, Payload
from edge.publish.retention import GapReason


@dataclass(frozen=True)
class MessageWriter:
    """Writes the messages of one count of numbers.

    Attributes:
        stream_id: Names the count.
        device: Named in gap messages.
        clock: For the times of gap messages.
    """

    stream_id: str
    device: str
    clock: Clock

    def number(self, payload: Payload, seq: int) -> str:
        """A message with its number."""
        numbered = {
            "schema_version": SCHEMA_VERSION,
            **payload,
            "stream_id": self.stream_id,
            "seq": seq,
        }
        return json.dumps(numbered, separators=(",", ":"), allow_nan=False)

    def gap(self, reason: GapReason, from_seq: int | None, to_seq: int | None, *, seq: int) -> str:
        """A message that names numbers which will not come; None: they are not known."""
        count = None if from_seq is None or to_seq is None else to_seq - from_seq + 1
        return self.number(
            {
                "phase": "gap",
                "device": self.device,
                "at": rfc3339(self.clock.utc()),
                "from_seq": from_seq,
                "to_seq": to_seq,
                "count": count,
                "reason": reason,
            },
            seq,
        )
