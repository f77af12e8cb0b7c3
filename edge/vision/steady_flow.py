"""Flow on a grid of 4 px cells, averaged over time along the motion itself.

The mean is one of vectors: what trembles or is noise cancels, what travels stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.carry import Carried
from edge.vision.observe import COARSE_PX


class SteadyFlow:
    """Steady motion of one camera.

    Args:
        height: Working height in pixels.
        width: Working width in pixels.
        time_constant_s: Time constant of the exponential mean, in seconds.
    """

    def __init__(self, *, height: int, width: int, time_constant_s: float) -> None:
        shape = (height // COARSE_PX, width // COARSE_PX)
        self._carried = Carried(shape, time_constant_s)
        self.speed: NDArray[np.float32] = np.zeros(shape, np.float32)
        """float32, rows x columns, length of the mean velocity, px per second."""

    @property
    def velocity(self) -> NDArray[np.float32] | None:
        """float32, rows x columns x 2, px per second; None before the first flow."""
        return self._carried.value

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self._carried.reset()
        self.speed[:] = 0.0

    def update(self, coarse_flow: NDArray[np.float32], dt_s: float) -> None:
        """Take the newest flow.

        Args:
            coarse_flow: float32, rows x columns x 2, px per frame (`Observation.coarse_flow`).
            dt_s: Seconds between its two frames, positive.
        """
        velocity = self._carried.update(
            coarse_flow / np.float32(dt_s), coarse_flow / np.float32(COARSE_PX), dt_s
        )
        assert velocity is not None
        self.speed = np.hypot(velocity[..., 0], velocity[..., 1])
