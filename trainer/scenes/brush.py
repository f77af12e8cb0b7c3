"""Drawing with sub-pixel positions, on the picture and on its ground truth at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Colour = tuple[int, int, int]  # blue, green, red

_SHIFT = 4  # OpenCV's fixed point: positions in sixteenths of a pixel
_CAP = tuple(pi / 2 + pi * step / 5 for step in range(6))  # half circle, from the left side on
_ROUND = tuple(2 * pi * step / 14 for step in range(14))


def shade(colour: Colour, factor: float) -> Colour:
    """`colour`, darker (factor < 1) or lighter."""
    blue, green, red = (min(255, int(channel * factor)) for channel in colour)
    return blue, green, red


@dataclass
class Brush:
    """Draws each primitive twice: its colour on the picture, `truth_value` on the truth layer.

    Both have the same anti-aliasing. So an actor in front removes what it hides from the truth of
    an actor behind, and the truth of a pixel is its coverage by the anomalous actor.

    Attributes:
        picture: uint8, (h, w, 3), BGR; changed in place.
        truth: uint8, (h, w), 255 = wholly the anomalous actor; None where nobody needs it.
        truth_value: 255 while an anomalous actor is drawn, else 0.
    """

    picture: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None = None
    truth_value: int = 0

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled convex polygon; points in px, pixel centres at whole numbers."""
        fixed = _fixed(points)
        cv2.fillConvexPoly(self.picture, fixed, colour, cv2.LINE_AA, _SHIFT)
        if self.truth is not None:
            cv2.fillConvexPoly(self.truth, fixed, (self.truth_value,), cv2.LINE_AA, _SHIFT)

    def limb(
        self, start: Point, end: Point, start_width: float, end_width: float, colour: Colour
    ) -> None:
        """A tapered bar with round ends; widths in px."""
        along = atan2(end[1] - start[1], end[0] - start[0])
        ends = ((start, start_width / 2, along), (end, end_width / 2, along + pi))
        self.polygon(
            [
                (x + radius * cos(turn + angle), y + radius * sin(turn + angle))
                for (x, y), radius, turn in ends
                for angle in _CAP
            ],
            colour,
        )

    def disc(self, centre: Point, radius: float, colour: Colour, *, stretch: float = 1.0) -> None:
        """A filled ellipse; `stretch` = height over width, radius (px) is half the width."""
        x, y = centre
        self.polygon([(x + radius * cos(a), y + radius * stretch * sin(a)) for a in _ROUND], colour)

    def ring(self, centre: Point, radius: float, width: float, colour: Colour) -> None:
        """A circle line; radius and width in px (the width is rounded to whole px)."""
        ((x, y),) = _fixed([centre]).tolist()
        scaled, thick = round(radius * (1 << _SHIFT)), max(1, round(width))
        cv2.circle(self.picture, (x, y), scaled, colour, thick, cv2.LINE_AA, _SHIFT)
        if self.truth is not None:
            value = (self.truth_value,)
            cv2.circle(self.truth, (x, y), scaled, value, thick, cv2.LINE_AA, _SHIFT)


def _fixed(points: Sequence[Point]) -> NDArray[np.int32]:
    return np.rint(np.asarray(points, np.float64) * (1 << _SHIFT)).astype(np.int32)
