"""Panic: from one moment to the next everybody runs."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np

from trainer.scenes.actor import Actor
from trainer.scenes.acts import Act
from trainer.scenes.figure import RUN, WALK
from trainer.scenes.ground import lanes, scale_at
from trainer.scenes.people import BODY_PX, RUNNING_SPEED, WALKING_SPEED, Person
from trainer.scenes.route import Route
from trainer.scenes.settings import SceneSettings

_SECONDS = (4.0, 6.0)
_CROWD = 4  # in the picture at the moment at least, half of them in each lane
_CENTRE = (0.3, 0.7)  # what they run from, share of the picture's width


def panics(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """All who are in the picture run from a place; after some seconds they walk on as before.

    Who would come in meanwhile waits outside until it is over.
    """
    seconds = float(rng.uniform(*_SECONDS))
    centre_x = float(rng.uniform(*_CENTRE)) * settings.width
    pace_seed = int(rng.integers(2**32))
    crowd, lead_s = _crowd(rng, settings)
    paces = np.random.default_rng(pace_seed)

    def flees(actor: Actor, start_s: float) -> tuple[Actor, ...]:
        """The actor until, during and after the panic."""
        person, route = actor.painter, actor.route
        assert isinstance(person, Person)
        assert isinstance(route, Route)
        pace = float(paces.uniform(*RUNNING_SPEED)) * scale_at(settings, route.foot_y)
        if start_s <= route.start_s:
            return (actor.later(seconds),)
        if not actor.seen_at(start_s, settings.width):
            return (actor,)
        here = route.at(start_s)
        away = 1 if here.x > centre_x else -1
        running = replace(route, start_s=start_s, start_x=here.x, speed=pace, heading=away)
        runner = person.going_on(RUN, here.travelled)
        end_s = start_s + seconds
        there = running.at(end_s)
        calm = replace(route, start_s=end_s, start_x=there.x)
        return (
            replace(actor, until_s=start_s),
            Actor(runner, running, -inf, from_s=start_s, until_s=end_s),
            Actor(runner.going_on(WALK, there.travelled), calm, from_s=end_s),
        )

    return Act(crowd, lead_s, seconds, flees)


def _crowd(rng: np.random.Generator, settings: SceneSettings) -> tuple[tuple[Actor, ...], float]:
    """Walkers of both lanes, spread over the picture at the moment; and that moment, s.

    The first of them comes into the picture at time 0.
    """
    crowd = []
    for number in range(_CROWD):
        lane = lanes(settings)[number % 2]
        foot_y = float(rng.uniform(*lane.feet))
        scale = scale_at(settings, foot_y)
        person = Person(rng, BODY_PX * scale)
        speed = float(rng.uniform(*WALKING_SPEED)) * scale
        way = (number + float(rng.uniform(0.3, 0.7))) / _CROWD * settings.width
        way += person.half_width
        start_x = -person.half_width if lane.heading > 0 else settings.width + person.half_width
        crowd.append(Actor(person, Route(-way / speed, start_x, foot_y, speed, lane.heading)))
    lead_s = max(-actor.route.start_s for actor in crowd if isinstance(actor.route, Route))
    return tuple(actor.later(lead_s) for actor in crowd), lead_s
