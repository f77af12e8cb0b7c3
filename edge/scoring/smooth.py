"""Causal smoothing of the frame score; nothing here looks ahead."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from engines.model_spec import SmoothingSpec

# A frame exactly `seconds` old is outside, whichever way its time stamp was rounded.
EDGE_S = 1e-6


class Smoother:
    """Smooths one camera's frame scores; time constants are in seconds, not frames."""

    def __init__(self, spec: SmoothingSpec) -> None:
        self._spec = spec
        self._recent: deque[tuple[float, float]] = deque()
        self._state: float | None = None
        self._last_s = 0.0

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self._recent.clear()
        self._state = None

    def update(self, time_s: float, score: float) -> float:
        """Take the newest score; returns the smoothed one, same unit."""
        kind, seconds = self._spec.kind, self._spec.seconds
        if kind == "none" or seconds == 0.0:
            return score
        if kind == "exponential":
            share = 1.0
            if self._state is not None:
                share = 1.0 - math.exp(-max(time_s - self._last_s, 0.0) / seconds)
            previous = score if self._state is None else self._state
            self._state = previous + share * (score - previous)
            self._last_s = time_s
            return self._state
        self._recent.append((time_s, score))
        # The newest frame always counts, also in a window shorter than the tolerance.
        while len(self._recent) > 1 and self._recent[0][0] <= time_s - seconds + EDGE_S:
            self._recent.popleft()
        values = [value for _, value in self._recent]
        return float(np.median(values) if kind == "trailing_median" else np.mean(values))
