"""Where an actor is at a time: a function of time alone, so that any frame can be drawn alone."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, sqrt
from typing import Protocol

_PAUSE_S = 0.6  # standing still before turning back
_LEAST_HOP = 1.0  # px; a lower one is rolling


@dataclass(frozen=True)
class Place:
    """A position along a route.

    Attributes:
        x: Centre of the feet or wheels, px.
        y: Ground contact, px.
        heading: +1 to the right, -1 to the left.
        travelled: Way covered since the start of the route, px; drives limbs and wheels.
        lift: Height above the ground, px: of what is carried or flies.
        progress: How far a change of posture has come; its meaning is the painter's.
    """

    x: float
    y: float
    heading: int
    travelled: float
    lift: float = 0.0
    progress: float = 0.0


class Path(Protocol):
    """A way through the scene."""

    @property
    def foot_y(self) -> float:
        """Ground contact, px: the greater, the nearer to the camera."""

    def at(self, time_s: float) -> Place:
        """The place at a time; defined for every time."""

    def later(self, shift_s: float) -> Path:
        """The same way, begun `shift_s` seconds later."""


@dataclass(frozen=True)
class Route:
    """Straight along a lane, perhaps turning back once.

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

    def later(self, shift_s: float) -> Route:
        """See `Path.later`."""
        return replace(self, start_s=self.start_s + shift_s, turn_s=self.turn_s + shift_s)


@dataclass(frozen=True)
class Key:
    """A moment of a `Track`.

    Attributes:
        time_s: When.
        x: px.
        heading: +1 or -1, from this moment to the next.
        lift: px above the ground.
        progress: See `Place.progress`.
    """

    time_s: float
    x: float
    heading: int
    lift: float = 0.0
    progress: float = 0.0


@dataclass(frozen=True)
class Track:
    """From one key to the next at even speed; at rest before the first and after the last.

    Attributes:
        foot_y: Ground contact, px.
        keys: In order of time, one at least.
    """

    foot_y: float
    keys: tuple[Key, ...]

    def at(self, time_s: float) -> Place:
        """See `Path.at`."""
        number = bisect_right([key.time_s for key in self.keys], time_s)
        last = self.keys[max(number - 1, 0)]
        following = self.keys[min(number, len(self.keys) - 1)]
        span = following.time_s - last.time_s
        share = (time_s - last.time_s) / span if span > 0.0 else 0.0
        behind = sum(abs(b.x - a.x) for a, b in pairwise(self.keys[: max(number, 1)]))
        return Place(
            last.x + share * (following.x - last.x),
            self.foot_y,
            last.heading,
            behind + share * abs(following.x - last.x),
            last.lift + share * (following.lift - last.lift),
            last.progress + share * (following.progress - last.progress),
        )

    def later(self, shift_s: float) -> Track:
        """See `Path.later`."""
        moved = tuple(replace(key, time_s=key.time_s + shift_s) for key in self.keys)
        return replace(self, keys=moved)


@dataclass(frozen=True)
class Throw:
    """A parabola from a hand to the ground, lower ones after each impact, then rolling.

    Attributes:
        start_s: When it leaves the hand.
        start_x: px; may be outside the picture.
        foot_y: Ground beneath it, px.
        hand: Height of the hand, px.
        speed: px per second along the ground, positive, until the first impact.
        rise: px per second upwards at the start.
        gravity: px per second squared.
        heading: +1 to the right, -1 to the left.
        bounce: Share of the upward speed that an impact leaves, 0..1 (1 excluded).
        slide: Share of the speed along the ground that an impact leaves, more than 0.
    """

    start_s: float
    start_x: float
    foot_y: float
    hand: float
    speed: float
    rise: float
    gravity: float
    heading: int
    bounce: float
    slide: float

    @property
    def landing_s(self) -> float:
        """When it first touches the ground."""
        return self.start_s + self._flight_s(self.hand, self.rise)

    def at(self, time_s: float) -> Place:
        """See `Path.at`."""
        left, way, height = max(0.0, time_s - self.start_s), 0.0, self.hand
        speed, rise = self.speed, self.rise
        while left > (flight := self._flight_s(height, rise)) > 0.0:
            left, way, height = left - flight, way + speed * flight, 0.0
            rise = self.bounce * (self.gravity * flight - rise)
            speed *= self.slide
            if rise**2 < 2.0 * self.gravity * _LEAST_HOP:
                rise = 0.0
        way += speed * left
        lift = 0.0 if rise == height == 0.0 else height + rise * left - self.gravity * left**2 / 2.0
        return Place(self.start_x + self.heading * way, self.foot_y, self.heading, way, lift)

    def later(self, shift_s: float) -> Throw:
        """See `Path.later`."""
        return replace(self, start_s=self.start_s + shift_s)

    def end_s(self, way: float) -> float:
        """When it has come `way` px along the ground."""
        low, high = self.start_s, self.start_s + 1.0
        while self.at(high).travelled < way:
            high += 1.0
        for _ in range(20):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.at(middle).travelled < way else (low, middle)
        return high

    def _flight_s(self, height: float, rise: float) -> float:
        return (rise + sqrt(rise**2 + 2.0 * self.gravity * height)) / self.gravity
