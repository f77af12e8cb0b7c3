"""The kinds of synthetic anomalies, as a table: name -> maker.

A maker gets a stage and a generator and gives an act; its docstring says which real thing the kind
stands for. To add a kind, write a maker and enter it in KINDS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from trainer.synthetic.riders import bicycle_rider, board_rider
from trainer.synthetic.sprite import Sprite, cutout_sprite, make_sprite
from trainer.synthetic.stage import (
    FADE_S,
    NORMAL_PACE,
    Act,
    Paste,
    Path,
    Replay,
    Stage,
    draw_path,
    fade_in_s,
)
from trainer.synthetic.things import draw_texture, draw_thing, random_colour, random_shape

HURRY_PACE = 2.5
_WALK_IN = 0.25  # share of the anomalous time in which a statue walks in
_RESIZED = 1.3  # cutouts are enlarged or reduced by no more than this if enough of them allow it
_CHOICE = 4
_TEXTURES = 0.15  # share of the objects that are pieces of the scene


@dataclass(frozen=True)
class Kind:
    """A kind of anomaly.

    Attributes:
        make: Makes one.
        needs: What the footage must show: isolated movers to cut out, any motion, or nothing.
        pace: Frames of footage for each frame of the clip.
    """

    make: Callable[[Stage, np.random.Generator], Act]
    needs: Literal["cutouts", "motion", "nothing"]
    pace: float = 1.0


def make_fast(stage: Stage, rng: np.random.Generator) -> Act:
    """Somebody who runs or skates through: looks like all others, is 2.5 to 4 times as fast."""
    path = draw_path(stage, rng, pace=(2.5, 4.0))
    return _paste(stage, _walker(stage, rng, path), path, rate=float(rng.uniform(1.0, 2.0)))


def make_object(stage: Stage, rng: np.random.Generator) -> Act:
    """A thing of another kind at the usual speed: cart, pushchair, suitcase, animal, bicycle."""
    return _object(stage, rng, NORMAL_PACE)


def make_slow_object(stage: Stage, rng: np.random.Generator) -> Act:
    """A thing that hardly moves: a vehicle that creeps, something pushed along, a stray animal."""
    return _object(stage, rng, (0.1, 0.35))


def make_posture(stage: Stage, rng: np.random.Generator) -> Act:
    """Somebody who falls, crawls, turns somersaults or crouches."""
    pace = NORMAL_PACE if rng.random() < 0.5 else (0.4, 0.6)
    path = draw_path(stage, rng, pace=pace, half_width=0.5)
    walker = _walker(stage, rng, path)
    how = int(rng.integers(3))
    pictures, alphas = list(walker.pictures), list(walker.alphas)
    if how == 0:
        turns = 1 if rng.random() < 0.5 else 3
        pictures = [np.ascontiguousarray(np.rot90(picture, turns)) for picture in pictures]
        alphas = [np.ascontiguousarray(np.rot90(alpha, turns)) for alpha in alphas]
    elif how == 1:
        pictures = [np.ascontiguousarray(picture[::-1]) for picture in pictures]
        alphas = [np.ascontiguousarray(alpha[::-1]) for alpha in alphas]
    else:
        sizes = [(alpha.shape[1], max(3, alpha.shape[0] // 2)) for alpha in alphas]
        pictures = [
            np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            for picture, size in zip(pictures, sizes, strict=True)
        ]
        alphas = [
            np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
            for alpha, size in zip(alphas, sizes, strict=True)
        ]
    return _paste(stage, make_sprite(pictures, alphas, walker.person, walker.fps), path)


def make_near(stage: Stage, rng: np.random.Generator) -> Act:
    """Somebody or something close to the camera: two or three times as large, and as fast."""
    factor = float(rng.uniform(2.0, 3.0))
    path = draw_path(stage, rng, pace=NORMAL_PACE, factor=factor)
    walker = _walker(stage, rng, path, factor=factor)
    paste = _paste(stage, walker, path, noise_sigma=stage.noise_sigma)
    return replace(paste, factor=factor, in_front=True)


def make_rider(stage: Stage, rng: np.random.Generator) -> Act:
    """A cyclist, skater or scooter: at most a little fast, but no leg moves."""
    path = draw_path(stage, rng, pace=(1.0, 1.6), half_width=0.5)
    walker = _walker(stage, rng, path, heading=1)
    rider = (bicycle_rider if rng.random() < 0.5 else board_rider)(stage, rng, walker)
    if path.velocity[0] < 0:
        rider = rider.mirrored()
    return _paste(stage, rider, path, noise_sigma=stage.noise_sigma)


def make_frozen(stage: Stage, rng: np.random.Generator) -> Act:
    """Somebody who walks in and then stands like a statue: collapsed on the spot, or waiting.

    Anomalous from when it stands. A gate that looks for motion never sees it: it is here so that
    this is reported.
    """
    walk_s = _WALK_IN * (stage.seconds - stage.start_s)
    path = draw_path(replace(stage, seconds=stage.start_s + walk_s), rng, pace=NORMAL_PACE)
    stop_s = stage.start_s + walk_s
    # It must stand within the picture.
    stop = replace(path, stop_s=stop_s).at(stop_s)
    height, width = stage.shape
    body = path.size.at(stop[1])
    kept = min(max(stop[0], body), width - body), min(max(stop[1], body), height - 2.0)
    start = path.start[0] + kept[0] - stop[0], path.start[1] + kept[1] - stop[1]
    path = replace(path, start=start, stop_s=stop_s)
    return replace(_paste(stage, _walker(stage, rng, path), path), masked_from_s=stop_s)


def make_reversed(_stage: Stage, _rng: np.random.Generator) -> Act:
    """The whole section backwards: people and vehicles that back away."""
    return Replay(backwards=True)


def make_hurry(_stage: Stage, _rng: np.random.Generator) -> Act:
    """The whole section at 2.5 times its speed: panic, everybody runs."""
    return Replay(pace=HURRY_PACE)


KINDS: dict[str, Kind] = {
    "fast": Kind(make_fast, "cutouts"),
    "object": Kind(make_object, "nothing"),
    "posture": Kind(make_posture, "cutouts"),
    "near": Kind(make_near, "cutouts"),
    "slow_object": Kind(make_slow_object, "nothing"),
    "rider": Kind(make_rider, "cutouts"),
    "reversed": Kind(make_reversed, "motion"),
    "frozen": Kind(make_frozen, "cutouts"),
    "hurry": Kind(make_hurry, "motion", HURRY_PACE),
}


def _walker(
    stage: Stage,
    rng: np.random.Generator,
    path: Path,
    *,
    heading: int | None = None,
    factor: float = 1.0,
) -> Sprite:
    """A cutout of about the right size, mirrored where it must be to look where it goes.

    With `heading` (+1 right, -1 left) it looks there instead; `factor` is the size it will have
    relative to a typical mover.
    """
    middle = path.at((stage.start_s + stage.seconds) / 2.0)
    wanted_px = factor * path.size.at(middle[1])
    # Enlarged ones are blurred more than the footage, reduced ones less: the closest are best.
    order = sorted(stage.cutouts, key=lambda cutout: abs(np.log(wanted_px / cutout.height)))
    fitting = [c for c in order if 1 / _RESIZED <= wanted_px / c.height <= _RESIZED]
    choice = fitting if len(fitting) >= _CHOICE else order[:_CHOICE]
    cutout = choice[int(rng.integers(len(choice)))]
    sprite = cutout_sprite(cutout)
    towards = path.velocity[0] if heading is None else heading
    # Who comes towards the camera or goes away from it looks about the same either way.
    aside = abs(cutout.velocity[0]) > 0.3 * cutout.speed
    return sprite.mirrored() if aside and towards * cutout.velocity[0] < 0 else sprite


def _object(stage: Stage, rng: np.random.Generator, pace: tuple[float, float]) -> Act:
    path = draw_path(stage, rng, pace=pace, half_width=0.6)
    person = path.size.at(path.start[1])
    size = float(rng.uniform(0.8, 2.0)) * person
    if rng.random() < _TEXTURES:
        wide, tall = rng.uniform(0.6, 1.0, 2).tolist()
        sprite = draw_texture(stage, rng, (wide * size, tall * size), person=person)
    else:
        main = random_colour(stage, rng)
        speed = float(np.hypot(*path.velocity))
        sprite = draw_thing(
            random_shape(stage, rng, main), stage, size,
            person=person, main=main, cycles_s=speed / (1.2 * size),
        )  # fmt: skip
        if path.velocity[0] < 0:
            sprite = sprite.mirrored()
    return _paste(stage, sprite, path, noise_sigma=stage.noise_sigma)


def _paste(
    stage: Stage, sprite: Sprite, path: Path, *, rate: float = 1.0, noise_sigma: float = 0.0
) -> Paste:
    half_width = 0.5 * sprite.extent[0] / sprite.person
    fade_s = min(FADE_S, fade_in_s(path, stage.shape, half_width))
    return Paste(sprite, path, stage.start_s, rate=rate, noise_sigma=noise_sigma, fade_s=fade_s)
