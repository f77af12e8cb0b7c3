"""What installing asks of the device's own program, and what it tells meanwhile and at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from engines.flash.home import Home

State = Literal["begin", "done", "skip", "note"]
Say = Callable[[str, State, str], None]
"""Told step, state and words."""


class Runtime(Protocol):
    """What only the program on the device can answer; each raises `VigilError` for a no."""

    def preflight(self, home: Home) -> Sequence[str]:
        """Configurations are valid and name `current`; returns notes."""

    def prove(self, release: Path) -> str:
        """The networks give their golden answers here, tried without root; returns words."""

    def build_engines(self, release: Path) -> str | None:
        """Build plans and gate them; None with no GPU software here; returns words."""


@dataclass(frozen=True)
class Ending:
    """What came of it."""

    outcome: Literal["committed", "rolled_back", "already", "nothing"]
    name: str
    reason: str = ""
    notes: tuple[str, ...] = ()
