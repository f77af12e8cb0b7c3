"""Who is in a clip, and when: decided before a frame is drawn, from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from engines.errors import ConfigError
from trainer.scenes.actor import Actor, far_to_near
from trainer.scenes.acts import crossing
from trainer.scenes.ground import Lane, lanes, scale_at
from trainer.scenes.kinds import KINDS
from trainer.scenes.people import BODY_PX, WALKING_SPEED, Person
from trainer.scenes.settings import SceneSettings

NORMAL_CLIPS = 6  # at least: parts of the training split are whole clips
_NORMAL_CLIP_S = 30.0
_QUIET_S = 4.0  # before and after an event, at least


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
    return ClipScript("normal", name, frames, far_to_near(walkers), None, (*seeds, 1))


def _test_clip(settings: SceneSettings, number: int, kind: str) -> ClipScript:
    seeds = (settings.seed, 2, number)
    rng = np.random.default_rng(seeds)
    act = KINDS[kind](rng, settings)
    needed_s = act.lead_s + act.event_s + 2.0 * _QUIET_S
    seconds = max(settings.test_seconds / len(settings.anomalies), needed_s)
    slack = seconds - act.event_s - 2.0 * _QUIET_S - act.lead_s
    # The event may lie anywhere between the two quiet stretches; its route so far starts at 0.
    act = act.later(_QUIET_S + slack * float(rng.uniform(0.2, 0.8)))
    actors = [*_walkers(rng, settings, seconds), *act.actors]
    if act.change is not None:
        actors = [part for actor in actors for part in act.change(actor, act.lead_s)]
    return ClipScript(
        "test",
        f"test_{number + 1:02d}_{kind}",
        ceil(seconds * settings.fps),
        far_to_near(actors),
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
    speed = float(rng.uniform(*WALKING_SPEED))
    yield _walker(rng, settings, lane.heading, foot_y, time_s, speed)
    if rng.random() < settings.pair_share:
        aside = 8.0 * settings.unit
        beside = foot_y - aside if foot_y - aside >= lane.feet[0] else foot_y + aside
        later = time_s + float(rng.uniform(0.0, 0.5))
        yield _walker(rng, settings, lane.heading, beside, later, speed)


def _walker(
    rng: np.random.Generator,
    settings: SceneSettings,
    heading: int,
    foot_y: float,
    start_s: float,
    speed: float,
) -> Actor:
    scale = scale_at(settings, foot_y)
    return crossing(
        settings,
        Person(rng, BODY_PX * scale),
        heading=heading,
        foot_y=foot_y,
        start_s=start_s,
        speed=speed * scale,
    )
