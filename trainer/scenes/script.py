"""Who is in a clip, and when: decided before a frame is drawn, from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from engines.errors import ConfigError
from trainer.scenes.ground import Lane, lanes, scale_at
from trainer.scenes.kinds import BODY_PX, KINDS, WALKER, WALKING_SPEED, Kind, Painter
from trainer.scenes.route import Route
from trainer.scenes.settings import SceneSettings

NORMAL_CLIPS = 6  # at least: parts of the training split are whole clips
_NORMAL_CLIP_S = 30.0
_QUIET_S = 4.0  # before and after an event, at least
_WRONG_WAY_S = (4.0, 8.0)  # how long somebody walks against the lane


@dataclass(frozen=True)
class Actor:
    """One moving thing.

    Attributes:
        painter: How it looks.
        route: Where it goes.
        anomalous_from_s: Since when it is anomalous; infinite for a normal one.
    """

    painter: Painter
    route: Route
    anomalous_from_s: float = inf


@dataclass(frozen=True)
class ClipScript:
    """All of one clip.

    Attributes:
        part: "normal" or "test".
        name: Clip name, also its file's stem.
        frames: Number of frames.
        actors: Everybody, far to near.
        kind: Kind of its anomaly, None in a normal clip.
        noise_seed: Where its sensor noise and light start.
    """

    part: str
    name: str
    frames: int
    actors: tuple[Actor, ...]
    kind: str | None
    noise_seed: tuple[int, ...]


def write_scripts(settings: SceneSettings) -> tuple[ClipScript, ...]:
    """The clips of a scene, normal part first.

    Raises:
        ConfigError: An anomaly is of no known kind.
    """
    unknown = [name for name in settings.anomalies if name not in KINDS]
    if unknown:
        raise ConfigError(
            f"There is no kind of anomaly {', '.join(map(repr, unknown))}",
            where="scene settings, anomalies",
            mend=f"choose from {', '.join(KINDS)}",
        )
    count = max(NORMAL_CLIPS, round(settings.normal_seconds / _NORMAL_CLIP_S))
    normal = [_normal_clip(settings, number, count) for number in range(count)]
    test = [_test_clip(settings, number, kind) for number, kind in enumerate(settings.anomalies)]
    return (*normal, *test)


def _normal_clip(settings: SceneSettings, number: int, count: int) -> ClipScript:
    seeds = (settings.seed, 1, number)
    frames = max(2, round(settings.normal_seconds / count * settings.fps))
    walkers = _walkers(np.random.default_rng(seeds), settings, frames / settings.fps)
    name = f"normal_{number + 1:02d}"
    return ClipScript("normal", name, frames, _far_to_near(walkers), None, (*seeds, 1))


def _test_clip(settings: SceneSettings, number: int, kind: str) -> ClipScript:
    seeds = (settings.seed, 2, number)
    rng = np.random.default_rng(seeds)
    actor, lead_s, event_s = _anomalous_actor(rng, settings, KINDS[kind])
    seconds = max(
        settings.test_seconds / len(settings.anomalies), lead_s + event_s + 2.0 * _QUIET_S
    )
    slack = seconds - event_s - 2.0 * _QUIET_S - lead_s
    # The event may lie anywhere between the two quiet stretches; its route so far starts at 0.
    shift = _QUIET_S + slack * float(rng.uniform(0.2, 0.8))
    actor = _later(actor, shift)
    walkers = _walkers(rng, settings, seconds)
    return ClipScript(
        "test",
        f"test_{number + 1:02d}_{kind}",
        ceil(seconds * settings.fps),
        _far_to_near([*walkers, actor]),
        kind,
        (*seeds, 1),
    )


def _walkers(rng: np.random.Generator, settings: SceneSettings, seconds: float) -> Iterator[Actor]:
    """Walkers of both lanes, some already under way at the start."""
    if settings.people_per_minute == 0.0:
        return
    gap_s = 2.0 * 60.0 / settings.people_per_minute / (1.0 + settings.pair_share)
    for lane in lanes(settings):
        # As long before the start as the slowest walker needs to cross.
        slowest = WALKING_SPEED[0] * scale_at(settings, lane.feet[0])
        time_s = -(settings.width + 2 * BODY_PX * settings.unit) / slowest
        while (time_s := time_s + float(rng.exponential(gap_s))) < seconds:
            yield from _arrivals(rng, settings, lane, time_s)


def _arrivals(
    rng: np.random.Generator, settings: SceneSettings, lane: Lane, time_s: float
) -> Iterator[Actor]:
    """One walker, or two side by side."""
    foot_y = float(rng.uniform(*lane.feet))
    speed = float(rng.uniform(*WALKER.speed))
    yield _crossing(rng, settings, WALKER, lane.heading, foot_y, time_s, speed)
    if rng.random() < settings.pair_share:
        aside = 8.0 * settings.unit
        beside = foot_y - aside if foot_y - aside >= lane.feet[0] else foot_y + aside
        later = time_s + float(rng.uniform(0.0, 0.5))
        yield _crossing(rng, settings, WALKER, lane.heading, beside, later, speed)


def _crossing(
    rng: np.random.Generator,
    settings: SceneSettings,
    kind: Kind,
    heading: int,
    foot_y: float,
    start_s: float,
    speed: float,
) -> Actor:
    """An actor that starts just outside the picture and goes straight through."""
    scale = scale_at(settings, foot_y)
    painter = kind.painter(rng, BODY_PX * scale)
    margin = painter.half_width
    start_x = -margin if heading > 0 else settings.width + margin
    return Actor(painter, Route(start_s, start_x, foot_y, speed * scale, heading))


def _anomalous_actor(
    rng: np.random.Generator, settings: SceneSettings, kind: Kind
) -> tuple[Actor, float, float]:
    """An anomalous actor that appears at time 0.

    Returns:
        The actor, the seconds from its appearance to the event, and the event's seconds.
    """
    lane = lanes(settings)[int(rng.integers(2))]
    foot_y, speed = float(rng.uniform(*lane.feet)), float(rng.uniform(*kind.speed))
    actor = _crossing(rng, settings, kind, lane.heading, foot_y, 0.0, speed)
    route, margin = actor.route, actor.painter.half_width
    if not kind.turns_back:
        seconds = (settings.width + 2.0 * margin) / route.speed
        return Actor(actor.painter, route, -inf), 0.0, seconds
    # In a small picture the turn comes before the middle, so that it can be seen.
    within_s = (0.6 * settings.width + margin) / route.speed
    turn_s = min(float(rng.uniform(*_WRONG_WAY_S)), within_s)
    route = Route(0.0, route.start_x, foot_y, route.speed, route.heading, turn_s)
    return Actor(actor.painter, route, route.back_s), route.back_s, turn_s


def _later(actor: Actor, shift_s: float) -> Actor:
    route = actor.route
    moved = Route(
        route.start_s + shift_s,
        route.start_x,
        route.foot_y,
        route.speed,
        route.heading,
        route.turn_s + shift_s,
    )
    return Actor(actor.painter, moved, actor.anomalous_from_s + shift_s)


def _far_to_near(actors: Iterator[Actor] | list[Actor]) -> tuple[Actor, ...]:
    """Painter's order: who stands nearer to the camera is drawn later."""
    return tuple(sorted(actors, key=lambda actor: actor.route.foot_y))
