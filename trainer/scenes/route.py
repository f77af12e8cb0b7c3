"""Where an actor is at a time: straight along its lane, perhaps turning back once."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

_PAUSE_S = 0.6  # standing still before turning back


@dataclass(frozen=True)
class Place:
    """A position along a route.

    Attributes:
        x: Centre of the feet or wheels, px.
        y: Ground contact, px.
        heading: +1 to the right, -1 to the left.
        travelled: Way covered since the start of the route, px; drives limbs and wheels.
    """

    x: float
    y: float
    heading: int
    travelled: float


@dataclass(frozen=True)
class Route:
    """A way through the scene.

    Attributes:
        start_s: When the actor is at `start_x`.
        start_x: px; may be outside the picture.
        foot_y: Ground contact, px.
        speed: px per second, positive.
        heading: +1 to the right, -1 to the left.
        turn_s: When the actor stops to turn back, if ever.
    """

    start_s: float
    start_x: float
    foot_y: float
    speed: float
    heading: int
    turn_s: float = inf

    @property
    def back_s(self) -> float:
        """When it starts to walk back."""
        return self.turn_s + _PAUSE_S

    def at(self, time_s: float) -> Place:
        """The place at a time (before the start: on the straight line that leads to it)."""
        out = self.speed * (min(time_s, self.turn_s) - self.start_s)
        back = self.speed * max(0.0, time_s - self.back_s)
        return Place(
            self.start_x + self.heading * (out - back),
            self.foot_y,
            -self.heading if time_s >= self.back_s else self.heading,
            out + back,
        )
