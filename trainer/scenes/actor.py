"""One actor: how it looks, where it goes, since when it is there and whether that is normal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from trainer.scenes.brush import Brush, Point
from trainer.scenes.route import Path, Place


class Painter(Protocol):
    """One actor's appearance."""

    @property
    def half_width(self) -> float:
        """Px from its centre to its ends, with some margin."""

    def draw(self, brush: Brush, place: Place) -> None:
        """Draw it at a place; limbs and wheels follow `place.travelled`."""


@dataclass(frozen=True)
class Actor:
    """One moving thing.

    Who changes what it does (walks, falls, walks on) is a row of actors, each there until the next.

    Attributes:
        painter: How it looks.
        route: Where it goes.
        anomalous_from_s: Since when it is anomalous; infinite for a normal one.
        from_s: Since when it is in the scene.
        until_s: When it no longer is.
    """

    painter: Painter
    route: Path
    anomalous_from_s: float = inf
    from_s: float = -inf
    until_s: float = inf

    def later(self, shift_s: float) -> Actor:
        """The same actor, everything `shift_s` seconds later."""
        return replace(
            self,
            route=self.route.later(shift_s),
            anomalous_from_s=self.anomalous_from_s + shift_s,
            from_s=self.from_s + shift_s,
            until_s=self.until_s + shift_s,
        )

    def seen_at(self, time_s: float, width: int) -> bool:
        """Whether it is there, and not beyond the sides of a picture `width` px wide."""
        if not self.from_s <= time_s < self.until_s:
            return False
        margin = self.painter.half_width
        return -margin <= self.route.at(time_s).x <= width + margin


class Local:
    """px of points given as (ahead, above the ground) in a unit of the actor's size.

    Args:
        place: Where the actor is; `place.lift` raises all points.
        size: px of one unit.
    """

    def __init__(self, place: Place, size: float) -> None:
        self._place, self._size = place, size

    def __call__(self, ahead: float, above: float) -> Point:
        """Px of a point."""
        place = self._place
        y = place.y - place.lift - above * self._size
        return place.x + place.heading * ahead * self._size, y


def far_to_near(actors: Iterable[Actor]) -> tuple[Actor, ...]:
    """Painter's order: who stands nearer to the camera is drawn later."""
    return tuple(sorted(actors, key=lambda actor: actor.route.foot_y))
