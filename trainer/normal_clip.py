"""What training and calibration need of a clip of normal footage."""

from __future__ import annotations

from typing import Protocol

from edge.capture.source import Source


class NormalClip(Protocol):
    """What is needed of a clip of normal footage."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def fps(self) -> float:
        """Frames per second."""

    def open(self) -> Source:
        """Its frames, to be entered with `with`."""
