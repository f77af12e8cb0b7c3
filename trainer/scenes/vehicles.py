"""Things on wheels and who drives them."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from trainer.scenes.actor import Local
from trainer.scenes.brush import Brush, Colour, Point, shade
from trainer.scenes.figure import draw_seated, random_looks
from trainer.scenes.route import Place

_TYRE: Colour = (30, 30, 32)
_STEEL: Colour = (150, 150, 155)


class Cyclist:
    """A rider on a bicycle."""

    def __init__(self, rng: np.random.Generator, body_px: float) -> None:
        self._looks = random_looks(rng, body_px)
        self._frame: Colour = ((40, 40, 170), (150, 70, 30), (60, 60, 60))[int(rng.integers(3))]
        self.half_width = 0.8 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        size = self._looks.height
        at = Local(place, size)
        wheel = 0.19
        spokes = place.travelled / (wheel * size)
        pedalling = spokes / 2.2  # gear ratio
        crank, saddle, bar = at(-0.02, 0.17), at(-0.12, 0.54), at(0.21, 0.56)
        line = 0.035 * size
        for hub in (at(-0.3, wheel), at(0.3, wheel)):
            brush.ring(hub, (wheel - 0.02) * size, 0.045 * size, _TYRE)
            for turn in (spokes, spokes + pi / 2):
                arm: Point = (0.16 * size * cos(turn), 0.16 * size * sin(turn))
                ends = (hub[0] - arm[0], hub[1] - arm[1]), (hub[0] + arm[0], hub[1] + arm[1])
                brush.limb(*ends, 1.0, 1.0, _STEEL)
        for start, end in (
            (at(-0.3, wheel), crank), (at(-0.3, wheel), at(-0.1, 0.44)), (crank, saddle),
            (crank, at(0.19, 0.46)), (at(-0.1, 0.44), at(0.19, 0.46)), (at(0.3, wheel), bar),
        ):  # fmt: skip
            brush.limb(start, end, line, line, self._frame)
        brush.limb(at(-0.18, 0.53), at(-0.06, 0.53), 0.05 * size, 0.04 * size, _TYRE)
        far, near = (
            at(-0.02 + 0.085 * cos(turn), 0.19 - 0.085 * sin(turn))
            for turn in (pedalling + pi, pedalling)
        )
        draw_seated(brush, self._looks, place.heading, at(-0.12, 0.56), (far, near), bar)


class Cart:
    """A small service vehicle with a roof and a driver."""

    def __init__(self, rng: np.random.Generator, body_px: float) -> None:
        self._looks = random_looks(rng, body_px)
        self._paint: Colour = ((205, 215, 220), (60, 130, 190), (90, 120, 70))[int(rng.integers(3))]
        self._size = body_px
        self.half_width = 1.0 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        size = self._size
        at = Local(place, size)
        dark = shade(self._paint, 0.6)
        brush.limb(at(-0.45, 0.4), at(-0.4, 1.12), 0.04 * size, 0.04 * size, dark)
        brush.polygon([at(-0.36, 0.3), at(-0.3, 0.3), at(-0.3, 0.75), at(-0.38, 0.75)], _TYRE)
        feet = at(0.2, 0.24), at(0.24, 0.24)
        draw_seated(brush, self._looks, place.heading, at(-0.14, 0.46), feet, at(0.2, 0.62))
        brush.limb(at(0.3, 0.4), at(0.17, 0.66), 0.035 * size, 0.035 * size, _TYRE)
        brush.polygon([at(-0.78, 0.14), at(0.2, 0.14), at(0.2, 0.36), at(-0.78, 0.46)], self._paint)
        brush.polygon(
            [at(0.2, 0.14), at(0.76, 0.14), at(0.74, 0.38), at(0.4, 0.54), at(0.2, 0.36)],
            self._paint,
        )
        brush.polygon([at(-0.78, 0.14), at(0.76, 0.14), at(0.76, 0.2), at(-0.78, 0.2)], dark)
        brush.limb(at(0.44, 0.5), at(0.3, 1.12), 0.04 * size, 0.04 * size, dark)
        brush.limb(at(-0.55, 1.14), at(0.42, 1.14), 0.07 * size, 0.07 * size, self._paint)
        for hub in (at(-0.48, 0.14), at(0.5, 0.14)):
            brush.disc(hub, 0.14 * size, _TYRE)
            brush.disc(hub, 0.06 * size, _STEEL)
            turn = place.heading * place.travelled / (0.14 * size)
            spoke = 0.1 * size * cos(turn), 0.1 * size * sin(turn)
            ends = (hub[0] - spoke[0], hub[1] - spoke[1]), (hub[0] + spoke[0], hub[1] + spoke[1])
            brush.limb(*ends, 0.03 * size, 0.03 * size, _STEEL)
