"""Lengths of footage and numbers of alarms as people read them."""

from __future__ import annotations

_MINUTE_S, _HOUR_S = 60.0, 3600.0


def span_in_words(seconds: float) -> str:
    """In the unit that leaves two figures or more: ``40 s``, ``12 min``, ``72 h``."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.3g} h"


def count_in_words(count: float) -> str:
    """Three figures, and no powers of ten: ``0.25``, ``24``, ``32,400``."""
    if count < 1000.0:
        return f"{count:.3g}"
    digits = len(str(int(count))) - 3
    return f"{round(count, -digits):,.0f}"
