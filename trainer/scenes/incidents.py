"""Anomalies that interrupt a walker: postures, loitering, a bag that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from trainer.scenes.actor import Actor, Painter
from trainer.scenes.acts import Act, crossing, lane_and_foot
from trainer.scenes.figure import LADEN, SHUFFLE, WALK, Gait
from trainer.scenes.ground import scale_at
from trainer.scenes.people import BODY_PX, WALKING_SPEED, Person, Posed
from trainer.scenes.posture import (
    CROUCHING,
    ON_BACK,
    ON_FACE,
    ON_HANDS_AND_KNEES,
    STANDING,
    STOOPING,
    Pose,
)
from trainer.scenes.route import Key, Route, Track
from trainer.scenes.settings import SceneSettings
from trainer.scenes.things import Bag

LOITER_RADIUS = 0.6  # body heights
_CRAWLING = 0.2  # body heights per second: half as fast as a slow walker
_STOPS_AT = (0.35, 0.6)  # share of the picture's width, along the way
_STOOP_S = 0.7  # to bend down, and to come up again
_BAG_AHEAD, _BAG_LIFT, _BAG_DOWN_AHEAD = 0.04, 0.17, 0.27  # body heights

# Seconds to get there, `Place.progress` then, and way ahead meanwhile in body heights.
Step = tuple[float, float, float]


@dataclass(frozen=True)
class _Walker:
    """A walker who comes to a halt at a place.

    Attributes:
        person: In the gait that he comes with.
        route: Straight through the scene.
        body_px: Mean height of a person there.
        stop_s: When he reaches the place.
        stop_x: The place, px.
    """

    person: Person
    route: Route
    body_px: float
    stop_s: float
    stop_x: float

    @classmethod
    def random(
        cls, rng: np.random.Generator, settings: SceneSettings, gait: Gait = WALK
    ) -> _Walker:
        """Somebody of either lane, who appears at time 0."""
        lane, foot_y = lane_and_foot(rng, settings)
        scale = scale_at(settings, foot_y)
        speed = float(rng.uniform(*WALKING_SPEED)) * scale
        person = Person(rng, BODY_PX * scale, gait)
        actor = crossing(
            settings, person, heading=lane.heading, foot_y=foot_y, start_s=0.0, speed=speed
        )
        assert isinstance(actor.route, Route)
        share = float(rng.uniform(*_STOPS_AT))
        stop_x = settings.width * (share if lane.heading > 0 else 1.0 - share)
        stop_s = abs(stop_x - actor.route.start_x) / speed
        return cls(person, actor.route, BODY_PX * scale, stop_s, stop_x)

    def follower(self, rng: np.random.Generator, stop_s: float) -> _Walker:
        """Another, who goes the same way and reaches the place at `stop_s`."""
        route = self.route.later(stop_s - self.stop_s)
        return replace(self, person=Person(rng, self.body_px), route=route, stop_s=stop_s)

    def keys(self, steps: Sequence[Step]) -> tuple[Key, ...]:
        """The steps from the halt on, in the walker's direction."""
        keys = [Key(self.stop_s, self.stop_x, self.route.heading)]
        for seconds, progress, ahead in steps:
            last = keys[-1]
            x = last.x + self.route.heading * ahead * self.body_px
            keys.append(replace(last, time_s=last.time_s + seconds, x=x, progress=progress))
        return tuple(keys)

    def interrupted(
        self, painter: Painter, keys: tuple[Key, ...], gait: Gait = WALK
    ) -> tuple[Actor, ...]:
        """Comes, is anomalous from the first key to the last, and walks on with `gait`."""
        end = keys[-1]
        away = replace(self.route, start_s=end.time_s, start_x=end.x)
        walking_on = self.person.going_on(gait, self.route.at(self.stop_s).travelled)
        foot_y = self.route.foot_y
        return (
            Actor(self.person, self.route, until_s=self.stop_s),
            Actor(painter, Track(foot_y, keys), -inf, from_s=self.stop_s, until_s=end.time_s),
            Actor(walking_on, away, from_s=end.time_s),
        )


def falls(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody falls on the face or the back, lies, gets up and walks on."""
    lying = ON_FACE if rng.random() < 0.5 else ON_BACK
    lying_s = float(rng.uniform(7.0, 12.0))
    steps = ((0.7, 1.0, 0.0), (lying_s, 1.0, 0.0), (1.4, 2.0, 0.0), (0.8, 3.0, 0.0))
    return _posture(rng, settings, (STANDING, lying, CROUCHING, STANDING), steps)


def crawls(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody gets down on hands and knees, crawls on, gets up and walks on."""
    seconds = float(rng.uniform(8.0, 12.0))
    steps = ((1.0, 2.0, 0.0), (seconds, 2.0, _CRAWLING * seconds), (1.2, 0.0, 0.0))
    return _posture(rng, settings, (STANDING, CROUCHING, ON_HANDS_AND_KNEES), steps)


def crouches(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody squats down, stays, gets up and walks on."""
    steps = ((0.8, 1.0, 0.0), (float(rng.uniform(7.0, 12.0)), 1.0, 0.0), (0.8, 0.0, 0.0))
    return _posture(rng, settings, (STANDING, CROUCHING), steps)


def loiters(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody stops and shuffles about the place with small steps, then walks on."""
    walker = _Walker.random(rng, settings)
    scale = walker.body_px / BODY_PX
    keys = list(walker.keys(()))
    until_s = walker.stop_s + float(rng.uniform(15.0, 22.0))
    while keys[-1].time_s < until_s:
        last = keys[-1]
        x = walker.stop_x + float(rng.uniform(-1.0, 1.0)) * LOITER_RADIUS * walker.body_px
        step_s = abs(x - last.x) / (float(rng.uniform(8.0, 13.0)) * scale)
        heading = 1 if x > last.x else -1
        keys[-1] = replace(last, heading=heading)
        there = Key(last.time_s + step_s, x, heading)
        keys += [there, replace(there, time_s=there.time_s + float(rng.uniform(0.3, 1.5)))]
    shuffler = walker.person.going_on(SHUFFLE, walker.route.at(walker.stop_s).travelled)
    actors = walker.interrupted(shuffler, tuple(keys))
    return Act(actors, walker.stop_s, keys[-1].time_s - walker.stop_s)


def leaves_bag(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody puts down a bag and walks on; later another comes and takes it away.

    Anomalous are the bag on the ground and who bends down to it, not a bag in the hand.
    """
    owner = _Walker.random(rng, settings, LADEN)
    bag = Bag(rng, owner.body_px)
    rest_s = float(rng.uniform(9.0, 14.0))
    taker = owner.follower(rng, owner.stop_s + 2.0 * _STOOP_S + rest_s)
    stoop = ((_STOOP_S, 1.0, 0.0), (_STOOP_S, 0.0, 0.0))
    actors: list[Actor] = []
    for walker, gait in ((owner, WALK), (taker, LADEN)):
        painter = Posed(walker.person.looks, (STANDING, STOOPING))
        actors += walker.interrupted(painter, walker.keys(stoop), gait)
    down_s, up_s = owner.stop_s + _STOOP_S, taker.stop_s + _STOOP_S
    end_s = up_s + _STOOP_S

    heading, body = owner.route.heading, owner.body_px
    in_hand = owner.stop_x + heading * _BAG_AHEAD * body
    on_ground = owner.stop_x + heading * _BAG_DOWN_AHEAD * body
    lift = _BAG_LIFT * body
    way = heading * (settings.width + body)
    speed = owner.route.speed
    # In front of who carries it, behind who comes after.
    line = owner.route.foot_y + 0.02 * body
    far_s = abs(way) / speed
    carried_in = (
        Key(owner.stop_s - far_s, in_hand - way, heading, lift),
        Key(owner.stop_s, in_hand, heading, lift),
    )
    left = (
        carried_in[-1],
        Key(down_s, on_ground, heading),
        Key(up_s, on_ground, heading),
        Key(end_s, in_hand, heading, lift),
    )
    carried_off = (left[-1], Key(end_s + far_s, in_hand + way, heading, lift))
    actors += [
        Actor(bag, Track(line, carried_in), until_s=owner.stop_s),
        Actor(bag, Track(line, left), -inf, from_s=owner.stop_s, until_s=end_s),
        Actor(bag, Track(line, carried_off), from_s=end_s),
    ]
    return Act(tuple(actors), owner.stop_s, end_s - owner.stop_s)


def _posture(
    rng: np.random.Generator,
    settings: SceneSettings,
    poses: tuple[Pose, ...],
    steps: Sequence[Step],
) -> Act:
    """A walker who takes postures in turn where he is, and walks on."""
    walker = _Walker.random(rng, settings)
    keys = walker.keys(steps)
    actors = walker.interrupted(Posed(walker.person.looks, poses), keys)
    return Act(actors, walker.stop_s, keys[-1].time_s - walker.stop_s)
