"""Feeds of cameras that do as they are told."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.capture.camera_state import Change
from edge.frames import Frame
from engines.errors import VigilError


@dataclass
class SaidFeed:
    """Says what the test wants."""

    live: bool = True
    busy: bool = False
    finished: bool = False
    failure: VigilError | None = None
    skipped: int = 0
    dropped: int = 0
    epoch: int = 1
    fps: float | None = 10.0
    flags: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def take(self) -> Frame | None:
        return None

    def drain(self) -> list[Change]:
        changes, self.changes = self.changes, []
        return changes

    def due_s(self) -> float | None:
        return None

    def end(self) -> None:
        pass

    @property
    def ended(self) -> bool:
        return True

    def close(self) -> None:
        pass
