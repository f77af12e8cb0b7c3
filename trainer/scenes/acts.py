"""What an anomaly adds to a clip or changes in it.

Here too: the anomalies that only cross the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from trainer.scenes.actor import Actor, Painter
from trainer.scenes.ground import Lane, lanes, scale_at
from trainer.scenes.people import BODY_PX, WALKING_SPEED, Person
from trainer.scenes.route import Route
from trainer.scenes.settings import SceneSettings

_WRONG_WAY_S = (4.0, 8.0)  # how long somebody walks against the lane
_NEAR_BODY, _NEAR_FOOT = (1.1, 1.4), 1.25  # of the picture height; the feet are below it

PainterMaker = Callable[[np.random.Generator, float], Painter]
Speeds = tuple[float, float]  # slowest and fastest, px/s at the reference height and scale 1


@dataclass(frozen=True)
class Act:
    """An anomaly, as if the first of its actors appeared at time 0.

    Attributes:
        actors: Who comes for it: anomalous ones, and normal ones that it needs.
        lead_s: Seconds until the event.
        event_s: Seconds of the event.
        change: What it makes of each other actor, given the event's start in the clip, s;
            None where it concerns nobody else.
    """

    actors: tuple[Actor, ...]
    lead_s: float
    event_s: float
    change: Callable[[Actor, float], tuple[Actor, ...]] | None = None

    def later(self, shift_s: float) -> Act:
        """The same, `shift_s` seconds later; the lead is then counted from time 0 on."""
        moved = tuple(actor.later(shift_s) for actor in self.actors)
        return replace(self, actors=moved, lead_s=self.lead_s + shift_s)


# Decides one act from the generator alone: the table `KINDS` names them.
Stage = Callable[[np.random.Generator, SceneSettings], Act]


def crossing(
    settings: SceneSettings,
    painter: Painter,
    *,
    heading: int,
    foot_y: float,
    start_s: float,
    speed: float,
) -> Actor:
    """A normal actor that starts just outside the picture and goes straight through.

    Args:
        settings: Of the scene.
        painter: How it looks.
        heading: +1 to the right, -1 to the left.
        foot_y: Ground contact, px.
        start_s: When it starts.
        speed: px per second in this picture.
    """
    start_x = -painter.half_width if heading > 0 else settings.width + painter.half_width
    return Actor(painter, Route(start_s, start_x, foot_y, speed, heading))


def lane_and_foot(rng: np.random.Generator, settings: SceneSettings) -> tuple[Lane, float]:
    """One of the lanes and a foot line in it, px."""
    lane = lanes(settings)[int(rng.integers(2))]
    return lane, float(rng.uniform(*lane.feet))


def crosses(make: PainterMaker, speeds: Speeds) -> Stage:
    """Somebody or something crosses in its lane's direction: anomalous throughout."""

    def stage(rng: np.random.Generator, settings: SceneSettings) -> Act:
        actor, route = _comer(rng, settings, make, speeds)
        return _throughout(settings, actor, route.speed)

    return stage


def turns_back(make: PainterMaker, speeds: Speeds) -> Stage:
    """Somebody walks in like everybody and turns round: anomalous from then on."""

    def stage(rng: np.random.Generator, settings: SceneSettings) -> Act:
        actor, route = _comer(rng, settings, make, speeds)
        # In a small picture the turn comes before the middle, so that it can be seen.
        within_s = (0.6 * settings.width + actor.painter.half_width) / route.speed
        turn_s = min(float(rng.uniform(*_WRONG_WAY_S)), within_s)
        route = replace(route, turn_s=turn_s)
        actor = Actor(actor.painter, route, route.back_s)
        return Act((actor,), route.back_s, turn_s)

    return stage


def passes_near(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody walks by right before the camera: seen from the thighs up, as fast as he is near."""
    heading = 1 if rng.random() < 0.5 else -1
    body_px = float(rng.uniform(*_NEAR_BODY)) * settings.height
    speed = float(rng.uniform(*WALKING_SPEED)) * body_px / BODY_PX
    actor = crossing(
        settings,
        Person(rng, body_px),
        heading=heading,
        foot_y=_NEAR_FOOT * settings.height,
        start_s=0.0,
        speed=speed,
    )
    return _throughout(settings, actor, speed)


def _comer(
    rng: np.random.Generator, settings: SceneSettings, make: PainterMaker, speeds: Speeds
) -> tuple[Actor, Route]:
    """A normal actor that appears at time 0, and its route."""
    lane, foot_y = lane_and_foot(rng, settings)
    speed, scale = float(rng.uniform(*speeds)), scale_at(settings, foot_y)
    painter = make(rng, BODY_PX * scale)
    actor = crossing(
        settings,
        painter,
        heading=lane.heading,
        foot_y=foot_y,
        start_s=0.0,
        speed=speed * scale,
    )
    assert isinstance(actor.route, Route)
    return actor, actor.route


def _throughout(settings: SceneSettings, actor: Actor, speed: float) -> Act:
    seconds = (settings.width + 2.0 * actor.painter.half_width) / speed
    return Act((replace(actor, anomalous_from_s=-inf),), 0.0, seconds)
