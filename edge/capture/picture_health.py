"""Whether a picture still changes, and how bright it is: cheap signs of a blinded or hung camera.

A thumbnail of 64 x 36 brightness values stands for the picture. A camera that looks at a quiet room
still delivers noise, which a thumbnail of it shows now and then; one that hangs delivers the very
same picture for ever. A clock that the camera writes into the picture would hide that, so its place
can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 36

Polygon = Sequence[tuple[float, float]]
"""Corners in 0..1 of width and height, origin top left."""


@dataclass(frozen=True)
class Look:
    """What one picture looks like; see `edge.capture.frame_ring.FrameMeta`."""

    still_s: float
    changes: int
    luma_mean: float
    luma_sd: float


class PictureHealth:
    """Follows one camera.

    Args:
        overlay: Places that the camera itself writes to, as polygons.
    """

    def __init__(self, overlay: Sequence[Polygon] = ()) -> None:
        self._hidden = np.zeros((HEIGHT, WIDTH), np.uint8)
        for polygon in overlay:
            corners = np.asarray(polygon, np.float64) * (WIDTH, HEIGHT)
            cv2.fillPoly(self._hidden, [np.rint(corners).astype(np.int32)], (1,))
        self._last: bytes | None = None
        self._changed_s = 0.0
        self._changes = 0

    def update(self, bgr: NDArray[np.uint8], now_s: float) -> Look:
        """Take the next picture, uint8, height x width x 3.

        Args:
            bgr: The picture.
            now_s: When it was captured, monotonic seconds.
        """
        small = cv2.resize(bgr, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        luma = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        seen = np.where(self._hidden, 0, luma).astype(np.uint8).tobytes()
        if self._last is None:
            self._last, self._changed_s = seen, now_s
        elif seen != self._last:
            self._last, self._changed_s = seen, now_s
            self._changes += 1
        return Look(
            still_s=now_s - self._changed_s,
            changes=self._changes,
            luma_mean=float(luma.mean()),
            luma_sd=float(luma.std()),
        )
