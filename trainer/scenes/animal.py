"""Animals."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from trainer.scenes.actor import Local
from trainer.scenes.brush import Brush, Colour, shade
from trainer.scenes.route import Place

_COATS: tuple[Colour, ...] = ((40, 62, 98), (38, 38, 42), (105, 150, 190), (205, 210, 215))
_UPPER, _LOWER = 0.17, 0.17  # bones of a leg, body heights of a person as all lengths here
_SWING, _CYCLE = 30.0, 0.62  # degrees to each side; way of a full cycle


class Dog:
    """A trotting dog, a little lower at the withers than a person's hip."""

    def __init__(self, rng: np.random.Generator, body_px: float) -> None:
        self._coat: Colour = _COATS[int(rng.integers(len(_COATS)))]
        self._size = body_px * float(rng.uniform(0.95, 1.2))
        self.half_width = 0.6 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        size, cycle = self._size, 2.0 * pi * place.travelled / (_CYCLE * self._size)
        dark = shade(self._coat, 0.72)
        at = Local(place, size)
        bob = 0.012 * sin(2.0 * cycle)
        # Diagonal pairs swing together: far hind with near fore.
        for ahead, offset, far in ((0.2, pi, True), (-0.22, 0.0, True)):
            self._leg(brush, at, ahead, cycle + offset, far=far)
        wag = 0.03 * sin(1.7 * cycle)
        brush.limb(at(-0.28, 0.38 + bob), at(-0.43, 0.5 + wag), 0.05 * size, 0.03 * size, dark)
        for ahead, offset, far in ((0.2, 0.0, False), (-0.22, pi, False)):
            self._leg(brush, at, ahead, cycle + offset, far=far)
        brush.limb(at(-0.22, 0.35 + bob), at(0.2, 0.36 + bob), 0.15 * size, 0.19 * size, self._coat)
        brush.limb(at(0.22, 0.4 + bob), at(0.35, 0.52 + bob), 0.13 * size, 0.1 * size, self._coat)
        brush.disc(at(0.37, 0.54 + bob), 0.075 * size, self._coat)
        brush.limb(at(0.38, 0.53 + bob), at(0.49, 0.5 + bob), 0.08 * size, 0.05 * size, self._coat)
        brush.limb(at(0.34, 0.59 + bob), at(0.31, 0.5 + bob), 0.045 * size, 0.03 * size, dark)
        brush.disc(at(0.51, 0.51 + bob), 0.02 * size, (25, 25, 28))

    def _leg(self, brush: Brush, at: Local, ahead: float, cycle: float, *, far: bool) -> None:
        size, colour = self._size, shade(self._coat, 0.7 if far else 0.92)
        upper = radians(_SWING) * sin(cycle)
        lower = upper - radians(48.0) * max(0.0, cos(cycle))
        knee = ahead + _UPPER * sin(upper), 0.33 - _UPPER * cos(upper)
        foot = knee[0] + _LOWER * sin(lower), knee[1] - _LOWER * cos(lower)
        brush.limb(at(ahead, 0.33), at(*knee), 0.085 * size, 0.055 * size, colour)
        brush.limb(at(*knee), at(foot[0], max(foot[1], 0.015)), 0.055 * size, 0.04 * size, colour)
