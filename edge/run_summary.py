"""What a run of the daemon has done, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CameraSummary:
    """One camera's part of a run; `failure` says why a recording broke off."""

    frames: int
    skipped: int
    dropped: int
    events: int
    failure: str | None
    losses: int = 0

    def plus(self, later: CameraSummary) -> CameraSummary:
        """Two parts as one."""
        return CameraSummary(
            frames=self.frames + later.frames,
            skipped=self.skipped + later.skipped,
            dropped=self.dropped + later.dropped,
            events=self.events + later.events,
            failure=later.failure or self.failure,
            losses=self.losses + later.losses,
        )


@dataclass(frozen=True)
class RunSummary:
    """What a run has done.

    `outbox_left` messages wait for the next run; `stopped`: a person or systemd ended it.
    """

    frames: int
    seconds: float
    fps: float
    events: int
    delivered: int
    outbox_left: int
    messages_dropped: int
    pictures_missing: int
    broker: str
    broker_reached: bool
    stopped: bool
    cameras: dict[str, CameraSummary]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "seconds": round(self.seconds, 3), "fps": round(self.fps, 2)}

    def lines(self) -> list[str]:
        """For people."""
        events = f"{self.events} event{'' if self.events == 1 else 's'}"
        rate = f"{self.fps:.1f} frames per second"
        lines = [
            f"{self.frames} frames in {self.seconds:.1f} s ({rate}), {events}",
            f"{self.delivered} messages taken by {self.broker}, {self.outbox_left} in the outbox",
        ]
        for name, camera in self.cameras.items():
            faults = [
                f"{count} frames {what}"
                for count, what in ((camera.skipped, "unreadable"), (camera.dropped, "too late"))
                if count
            ]
            faults += [f"lost {camera.losses} times"] if camera.losses else []
            faults += [camera.failure] if camera.failure else []
            if faults:
                lines.append(f"camera {name}: {', '.join(faults)}")
        if self.messages_dropped:
            lines.append(
                f"{self.messages_dropped} messages dropped, with gap messages in their place"
            )
        if self.pictures_missing:
            lines.append(f"{self.pictures_missing} pictures could not be written")
        return lines
