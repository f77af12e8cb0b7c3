"""A memory that stays with the moving thing instead of the place.

Grids are warped along the newest flow before the new values are mixed in: an exponential mean that
is motion-compensated. Until the time constant has passed it is the plain mean since the start, so
that the first frames after a start or a cut are not drowned in zeros.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


class MeanClock:
    """How much of a mean each look replaces.

    Args:
        time_constant_s: Seconds; 0 keeps the newest values only.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._time_constant_s = time_constant_s
        self.reset()

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self._looks = 0
        self._waiting_s = 0.0

    def wait(self, dt_s: float) -> None:
        """Let so many seconds pass."""
        self._waiting_s += dt_s

    def look(self) -> float:
        """Take new values now; returns their share in the mean, 1 for the first ones."""
        self._looks += 1
        waited, self._waiting_s = self._waiting_s, 0.0
        if self._looks == 1 or self._time_constant_s <= 0.0:
            return 1.0
        settled = 1.0 - math.exp(-waited / self._time_constant_s)
        return max(settled, 1.0 / self._looks)


class Carried:
    """Motion-compensated exponential mean of one grid.

    Args:
        shape: (rows, columns) of the grid.
        time_constant_s: Seconds; 0 keeps the newest values only.
    """

    def __init__(self, shape: tuple[int, int], time_constant_s: float) -> None:
        self._clock = MeanClock(time_constant_s)
        x, y = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
        self._x, self._y = x.astype(np.float32), y.astype(np.float32)
        self.value: Field | None = None
        """float32, rows x columns (x channels); None before the first values."""

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self.value = None
        self._clock.reset()

    def update(self, values: Field | None, flow: Field | None, dt_s: float) -> Field | None:
        """Take the newest frame.

        Args:
            values: float32, rows x columns, or with channels; None if nothing was looked at.
            flow: float32, rows x columns x 2, cells per frame; None if unknown (first frame).
            dt_s: Seconds since the frame before.

        Returns:
            The mean, also in `value`; None while there were no values yet.
        """
        if self.value is not None:
            self._clock.wait(dt_s)
            if flow is not None:
                self.value = self._warped(self.value, flow)
        if values is None:
            return self.value
        share = self._clock.look()
        if self.value is None:
            self.value = values.astype(np.float32)
        else:
            self.value = self.value + np.float32(share) * (values - self.value)
        return self.value

    def _warped(self, value: Field, flow: Field) -> Field:
        return np.asarray(
            cv2.remap(
                value,
                self._x - flow[..., 0],
                self._y - flow[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            dtype=np.float32,
        )
