"""What came of one device, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from engines.errors import DataError, VigilError
from engines.flash.words import error_json, printable

Outcome = Literal[
    "committed", "already", "rolled_back", "refused", "failed", "unreachable", "not_tried"
]


@dataclass
class Report:
    """What came of one device."""

    target: str
    outcome: Outcome
    release: str = ""
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    sent_bytes: int = 0
    resumed: int = 0
    error: VigilError | None = None

    @property
    def well(self) -> bool:
        """The device runs what it was to run."""
        return self.outcome in {"committed", "already"}

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "target": self.target,
            "outcome": self.outcome,
            "release": self.release,
            "reason": self.reason,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
            "sent_bytes": self.sent_bytes,
            "resumed": self.resumed,
            "error": None if self.error is None else error_json(self.error),
        }


def take_ending(report: Report, ending: Any) -> None:
    """Write what the device says of its installation into a report.

    Raises:
        DataError: It was rolled back, or failed.
    """
    outcome = str(ending.get("outcome"))
    report.notes += [printable(str(note), 500) for note in ending.get("notes", [])]
    if outcome in {"committed", "already"}:
        report.outcome = "committed" if outcome == "committed" else "already"
        report.release = printable(str(ending.get("name", report.release)), 64)
        return
    reason = printable(str(ending.get("reason", "it did not say why")))
    if outcome == "rolled_back":
        report.outcome = "rolled_back"
        raise DataError(
            f"rolled back, the old release runs: {reason}",
            where=report.target,
            mend="journalctl -u 'vigil@*' on the device tells more",
        )
    raise DataError(f"not installed, the old release runs: {reason}", where=report.target)
