"""Frame rates: which values are believed."""

from __future__ import annotations

import math

from engines.errors import UsageError

DEFAULT_FPS = 25.0  # when a video or camera does not say
_MAX_FPS = 480.0  # above it a header holds a clock tick (90000, 1000), not a rate


def checked_fps(fps: float | None) -> float | None:
    """Pass on a rate that a person gave (frames per second), or None.

    Raises:
        UsageError: It is not a positive number of at most 480.
    """
    if fps is not None and not is_plausible_fps(fps):
        raise UsageError(
            f"{fps!r} is not a frame rate", mend=f"give frames per second, 0 to {_MAX_FPS:.0f}"
        )
    return fps


def is_plausible_fps(fps: float) -> bool:
    """Whether `fps` can be a rate; headers also hold 0, NaN, and clock ticks such as 90000."""
    return math.isfinite(fps) and 0.0 < fps <= _MAX_FPS
