"""The kinds of anomalous actors, as a table; and the walker, who is normal.

A kind says how fast it goes, how it passes through the scene and how one of it is drawn. To add
one, write its painter (a class with `draw`) and enter it in KINDS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Protocol

import numpy as np

from trainer.scenes.brush import Brush, Colour, Point, shade
from trainer.scenes.figure import RUN, WALK, Gait, draw_seated, draw_walker, random_looks
from trainer.scenes.route import Place

WALKING_SPEED = (12.0, 22.0)  # px per second at the reference height and scale 1
BODY_PX = 45.0  # mean height of a person there

_TYRE: Colour = (30, 30, 32)
_STEEL: Colour = (150, 150, 155)


class Painter(Protocol):
    """One actor's appearance."""

    half_width: float  # px from its centre to its ends, with some margin

    def draw(self, brush: Brush, place: Place) -> None:
        """Draw it at a place; limbs and wheels follow `place.travelled`."""


@dataclass(frozen=True)
class Kind:
    """A kind of actor.

    Attributes:
        painter: Makes one of the kind from a generator and the height of a person there, px.
        speed: Slowest and fastest, px per second at the reference height and scale 1.
        turns_back: Walks in like everybody, then turns: anomalous from there on. Otherwise it
            crosses the scene in the direction of its lane and is anomalous throughout.
    """

    painter: Callable[[np.random.Generator, float], Painter]
    speed: tuple[float, float]
    turns_back: bool = False


class Person:
    """A person on foot."""

    def __init__(self, rng: np.random.Generator, body_px: float, gait: Gait = WALK) -> None:
        self._looks = random_looks(rng, body_px)
        self._gait = gait
        self._phase = float(rng.random())
        self.half_width = 0.6 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        draw_walker(brush, self._looks, self._gait, place, self._phase)


class Cyclist:
    """A rider on a bicycle."""

    def __init__(self, rng: np.random.Generator, body_px: float) -> None:
        self._looks = random_looks(rng, body_px)
        self._frame: Colour = ((40, 40, 170), (150, 70, 30), (60, 60, 60))[int(rng.integers(3))]
        self.half_width = 0.8 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        size = self._looks.height
        at = _Local(place, size)
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
        at = _Local(place, size)
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


def _runner(rng: np.random.Generator, body_px: float) -> Painter:
    return Person(rng, body_px, RUN)


KINDS: dict[str, Kind] = {
    "cyclist": Kind(Cyclist, (51.0, 63.0)),
    "running": Kind(_runner, (38.0, 46.0)),
    "cart": Kind(Cart, (26.0, 34.0)),
    "wrong_way": Kind(Person, WALKING_SPEED, turns_back=True),
}
WALKER = Kind(Person, WALKING_SPEED)


class _Local:
    """px of points given as (ahead, above the ground) in body heights."""

    def __init__(self, place: Place, size: float) -> None:
        self._place, self._size = place, size

    def __call__(self, ahead: float, above: float) -> Point:
        place = self._place
        return place.x + place.heading * ahead * self._size, place.y - above * self._size
