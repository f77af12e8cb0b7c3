"""Things that lie, are carried or fly."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from trainer.scenes.actor import Local
from trainer.scenes.brush import Brush, Colour, shade
from trainer.scenes.route import Place

_BAGS: tuple[Colour, ...] = ((35, 40, 135), (120, 65, 30), (38, 36, 36), (40, 95, 130))
_BALLS: tuple[Colour, ...] = ((40, 60, 215), (40, 200, 235), (235, 235, 235))
_STONES: tuple[Colour, ...] = ((88, 94, 100), (62, 70, 80))


class Bag:
    """A holdall; its handles' top is 0.3 body heights above its underside."""

    def __init__(self, rng: np.random.Generator, body_px: float) -> None:
        self._colour: Colour = _BAGS[int(rng.integers(len(_BAGS)))]
        self._size = body_px
        self.half_width = 0.3 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        size, at = self._size, Local(place, self._size)
        dark, strap = shade(self._colour, 0.6), 0.022 * self._size
        for start, end in (((-0.1, 0.2), (-0.05, 0.29)), ((-0.05, 0.29), (0.05, 0.29)),
                           ((0.05, 0.29), (0.1, 0.2))):  # fmt: skip
            brush.limb(at(*start), at(*end), strap, strap, dark)
        brush.limb(at(-0.12, 0.105), at(0.12, 0.105), 0.2 * size, 0.2 * size, self._colour)
        brush.polygon([at(-0.2, 0.0), at(0.2, 0.0), at(0.2, 0.07), at(-0.2, 0.07)], dark)
        for ahead in (-0.1, 0.1):
            brush.limb(at(ahead, 0.02), at(ahead, 0.19), strap, strap, dark)


class Missile:
    """A ball or a stone, a little larger than life to be seen at all.

    Its underside is at `Place.lift` above the ground.
    """

    def __init__(self, rng: np.random.Generator, body_px: float, *, stone: bool) -> None:
        colours = _STONES if stone else _BALLS
        self._colour: Colour = colours[int(rng.integers(len(colours)))]
        self._radius = body_px * (0.085 if stone else 0.1)
        around = np.linspace(0.0, 2.0 * pi, 8, endpoint=False)
        rough = rng.uniform(0.75, 1.1, 8) if stone else np.ones(8)
        self._outline = tuple(zip(around.tolist(), rough.tolist(), strict=True))
        self._stone = stone
        self.half_width = 2.0 * self._radius

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        radius = self._radius
        x, y = place.x, place.y - place.lift - radius
        turn = place.heading * place.travelled / (3.0 * radius)
        if self._stone:
            brush.polygon(
                [
                    (x + radius * rough * cos(angle + turn), y + radius * rough * sin(angle + turn))
                    for angle, rough in self._outline
                ],
                self._colour,
            )
        else:
            brush.disc((x, y), radius, self._colour)
        spot = x + 0.4 * radius * cos(turn), y + 0.4 * radius * sin(turn)
        brush.disc(spot, 0.4 * radius, shade(self._colour, 0.6))
