"""Dense, motion-compensated speed: the strong baseline that learns no network.

The state is an exponential mean of the flow magnitude on a coarse grid. Before it is updated it is
warped along the newest flow, so that it stays with the moving thing instead of the place.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.flow import FlowImage

COARSE_PX = 4
REACH = 5
READ_STEP = 2


class SpeedField:
    """Smoothed speed of one camera on a grid of 8 px cells.

    Args:
        height: Working height in pixels.
        width: Working width in pixels.
        time_constant_s: Time constant of the exponential mean, in seconds.
    """

    def __init__(self, *, height: int, width: int, time_constant_s: float) -> None:
        self._coarse = (width // COARSE_PX, height // COARSE_PX)
        self._time_constant_s = time_constant_s
        x, y = np.meshgrid(np.arange(self._coarse[0]), np.arange(self._coarse[1]))
        self._x, self._y = x.astype(np.float32), y.astype(np.float32)
        self._state = np.zeros(x.shape, np.float32)
        self._kernel = np.ones((REACH, REACH), np.uint8)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the result."""
        rows, columns = self._state.shape
        return -(-rows // READ_STEP), -(-columns // READ_STEP)

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self._state[:] = 0.0

    def update(self, flow: FlowImage, dt_s: float) -> NDArray[np.float32]:
        """Take the newest flow.

        Args:
            flow: float32, height x width x 2, pixels per frame.
            dt_s: Seconds between its two frames, positive.

        Returns:
            float32, rows x columns: the largest smoothed speed within 10 px of each cell, in
            pixels per second.
        """
        coarse = cv2.resize(flow, self._coarse, interpolation=cv2.INTER_AREA)
        speed = np.hypot(coarse[..., 0], coarse[..., 1]) / dt_s
        warped = cv2.remap(
            self._state,
            self._x - coarse[..., 0] / COARSE_PX,
            self._y - coarse[..., 1] / COARSE_PX,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        share = 1.0 - math.exp(-dt_s / self._time_constant_s)
        self._state = (warped + share * (speed - warped)).astype(np.float32)
        reached = cv2.dilate(self._state, self._kernel)
        return np.asarray(reached[::READ_STEP, ::READ_STEP], dtype=np.float32)
