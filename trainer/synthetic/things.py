"""Things that are no persons, drawn: what a scene of walkers has never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.scenes.brush import Brush, Colour, Point, shade
from trainer.synthetic.sprite import Sprite, make_sprite
from trainer.synthetic.stage import Stage

_FINER = 4  # drawn so many times larger, then averaged: smooth edges
_PHASES = 8  # pictures of a turn of the wheels
_LEAST_CONTRAST, _COLOUR_TRIES = 25.0, 20  # grey levels to the ground: nothing is invisible
_MARGIN = 4  # px around the thing

Shape = Callable[["Pen", float], None]


class Pen:
    """Draws on a canvas in units of the thing: x to its front, y above the ground, 1 = its size."""

    def __init__(self, size: float, main: Colour) -> None:
        self._unit = size * _FINER
        side = int(2.0 * (self._unit + 2 * _MARGIN * _FINER))
        self._origin = side / 2.0, 0.75 * side
        # Filled with the main colour, so that soft edges do not take in another one.
        self.picture = np.full((side, side, 3), main, np.uint8)
        self.cover = np.zeros((side, side), np.uint8)
        self._brush = Brush(self.picture, self.cover, 255)

    def at(self, x: float, y: float) -> Point:
        """Pixels of a point of the thing."""
        return self._origin[0] + x * self._unit, self._origin[1] - y * self._unit

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled convex polygon."""
        self._brush.polygon([self.at(*point) for point in points], colour)

    def bar(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """A bar with round ends."""
        thick = width * self._unit
        self._brush.limb(self.at(*start), self.at(*end), thick, thick, colour)

    def disc(self, centre: Point, radius: float, colour: Colour, stretch: float = 1.0) -> None:
        """A filled ellipse; `stretch` = height over width."""
        self._brush.disc(self.at(*centre), radius * self._unit, colour, stretch=stretch)

    def wheel(self, centre: Point, radius: float, phase: float, colour: Colour) -> None:
        """A tyre with spokes, open between them."""
        thick = max(0.16 * radius, 0.03)
        self._brush.ring(
            self.at(*centre), (radius - thick / 2) * self._unit, thick * self._unit, colour
        )
        for turn in (0.0, pi / 3, 2 * pi / 3):
            arm = radius * 0.85 * cos(turn - phase), radius * 0.85 * sin(turn - phase)
            ends = (
                (centre[0] - arm[0], centre[1] - arm[1]),
                (centre[0] + arm[0], centre[1] + arm[1]),
            )
            self.bar(*ends, 0.012, shade(colour, 1.8))


def draw_thing(
    shape: Shape, stage: Stage, size: float, *, person: float, main: Colour, cycles_s: float
) -> Sprite:
    """Draw a thing as the stage's camera would see it: blurred, and grey where it is grey.

    Args:
        shape: Draws it at a phase of its wheels or legs, 0..2 pi.
        stage: The scene.
        size: px of the shape's unit.
        person: Height of a typical mover at the place, px.
        main: Its main colour.
        cycles_s: Turns of its wheels per second.
    """
    pictures, alphas = [], []
    for phase in range(_PHASES):
        pen = Pen(size, main)
        shape(pen, 2.0 * pi * phase / _PHASES)
        rows, columns = (np.flatnonzero(pen.cover.any(axis=axis)) for axis in (1, 0))
        margin = _MARGIN * _FINER
        window = np.s_[
            max(0, rows[0] - margin) : rows[-1] + margin,
            max(0, columns[0] - margin) : columns[-1] + margin,
        ]
        picture, alpha = _seen(pen.picture[window], pen.cover[window], stage.edge_sigma)
        picture = _lit(picture)
        pictures.append(to_grey(picture) if stage.is_grey else picture)
        alphas.append(alpha)
    return make_sprite(pictures, alphas, person, cycles_s * _PHASES)


def draw_texture(
    stage: Stage, rng: np.random.Generator, size: tuple[float, float], *, person: float
) -> Sprite:
    """A piece of the scene itself, torn out and gone elsewhere, lighter or darker than it was.

    Args:
        stage: The scene.
        rng: Decides where it is taken and which of two outlines it has.
        size: Width and height, px.
        person: Height of a typical mover at the place, px.
    """
    height, width = (
        max(4, min(limit - 1, round(s))) for s, limit in zip(size[::-1], stage.shape, strict=True)
    )
    top = int(rng.integers(0, stage.shape[0] - height))
    left = int(rng.integers(0, stage.shape[1] - width))
    piece = stage.background[top : top + height, left : left + width].astype(np.float32)
    # Away from the nearer end of the levels, so that it keeps its texture.
    change = float(rng.uniform(20, 60)) * (1 if piece.mean() < 110 else -1)
    contrast = float(rng.uniform(1.0, 1.6))
    changed = np.clip((piece - piece.mean()) * contrast + piece.mean() + change, 0, 255)
    alpha = np.zeros((height, width), np.float32)
    if rng.random() < 0.5:
        centre, axes = (width // 2, height // 2), (width // 2 - 1, height // 2 - 1)
        cv2.ellipse(alpha, centre, axes, 0, 0, 360, (1.0,), cv2.FILLED, cv2.LINE_8)
    else:
        alpha[1:-1, 1:-1] = 1.0
    picture = np.pad(
        changed.astype(np.uint8), ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge"
    )
    soft = cv2.GaussianBlur(np.pad(alpha, _MARGIN), (0, 0), stage.edge_sigma)
    return make_sprite([picture], [np.asarray(soft, np.float32)], person, 1.0)


def to_grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same picture with three equal channels (uint8, h x w x 3)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def random_colour(stage: Stage, rng: np.random.Generator) -> Colour:
    """A colour in the range of brightness that the scene has, and not that of its ground."""
    low, high = np.quantile(stage.background[::4, ::4], (0.02, 0.98))
    level = ground = stage.ground_level
    for _ in range(_COLOUR_TRIES):
        if abs(level - ground) >= _LEAST_CONTRAST:
            break
        level = float(rng.uniform(0.5 * low, min(250.0, 1.25 * high)))
    # Most things are nearly grey, few are gaudy.
    tint = 1.0 + 0.6 * float(rng.random()) ** 2 * rng.uniform(-1.0, 1.0, 3)
    blue, green, red = np.clip(level * tint, 0, 255).astype(int).tolist()
    return blue, green, red


def random_shape(stage: Stage, rng: np.random.Generator, main: Colour) -> Shape:
    """One of the things of this module, in colours of its own."""
    return _SHAPES[int(rng.integers(len(_SHAPES)))](stage, rng, main)


def _box(stage: Stage, rng: np.random.Generator, main: Colour) -> Shape:
    """A parcel or suitcase, striped or with a lid."""
    tall, deep = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.08, 0.2))
    wide = float(rng.uniform(0.35, 0.75))
    second = random_colour(stage, rng)
    stripes = int(rng.integers(0, 5))

    def draw(pen: Pen, _phase: float) -> None:
        x, y = wide / 2, tall - deep
        pen.polygon([(-x, 0), (x, 0), (x, y), (-x, y)], main)
        for stripe in range(stripes):
            low = y * (stripe + 0.3) / stripes
            pen.polygon(
                [(-x, low), (x, low), (x, low + 0.3 * y / stripes), (-x, low + 0.3 * y / stripes)],
                second,
            )
        pen.polygon([(-x, y), (x, y), (x + deep / 2, tall), (deep / 2 - x, tall)], shade(main, 1.3))
        pen.polygon([(x, 0), (x + deep / 2, deep), (x + deep / 2, tall), (x, y)], shade(main, 0.7))

    return draw


def _vehicle(stage: Stage, rng: np.random.Generator, main: Colour) -> Shape:
    """A cart or small car: body, cabin or roof on posts, two wheels."""
    cabin, glass = float(rng.uniform(0.3, 0.6)), random_colour(stage, rng)
    closed = bool(rng.random() < 0.5)

    def draw(pen: Pen, _phase: float) -> None:
        if closed:
            pen.polygon([(-0.4, 0.3), (0.25, 0.3), (0.12, cabin), (-0.32, cabin)], shade(main, 1.1))
            pen.polygon(
                [(-0.32, 0.32), (0.16, 0.32), (0.08, cabin - 0.04), (-0.27, cabin - 0.04)], glass
            )
        else:
            pen.bar((-0.38, 0.3), (-0.35, cabin), 0.03, shade(main, 0.6))
            pen.bar((0.22, 0.3), (0.12, cabin), 0.03, shade(main, 0.6))
            pen.bar((-0.42, cabin), (0.2, cabin), 0.05, main)
        pen.polygon([(-0.5, 0.09), (0.5, 0.09), (0.5, 0.24), (0.22, 0.32), (-0.5, 0.32)], main)
        pen.polygon([(-0.5, 0.09), (0.5, 0.09), (0.5, 0.13), (-0.5, 0.13)], shade(main, 0.6))
        for x in (-0.3, 0.32):
            pen.disc((x, 0.1), 0.1, (32, 30, 30))
            pen.disc((x, 0.1), 0.045, (150, 150, 150))

    return draw


def _bicycle(_stage: Stage, _rng: np.random.Generator, main: Colour) -> Shape:
    """Two spoked wheels with a frame."""

    def draw(pen: Pen, phase: float) -> None:
        for x in (-0.29, 0.29):
            pen.wheel((x, 0.2), 0.2, phase, (36, 34, 34))
        for start, end in (
            ((-0.29, 0.2), (-0.02, 0.2)), ((-0.29, 0.2), (-0.11, 0.45)),
            ((-0.02, 0.2), (-0.13, 0.52)), ((-0.02, 0.2), (0.19, 0.48)),
            ((-0.11, 0.45), (0.19, 0.48)), ((0.29, 0.2), (0.17, 0.58)), ((0.17, 0.58), (0.24, 0.6)),
        ):  # fmt: skip
            pen.bar(start, end, 0.04, main)

    return draw


def _ball(_stage: Stage, rng: np.random.Generator, main: Colour) -> Shape:
    """A ball or a barrel on its side, with a mark that turns."""
    second, stretch = shade(main, float(rng.uniform(0.5, 0.8))), float(rng.uniform(0.8, 1.0))

    def draw(pen: Pen, phase: float) -> None:
        pen.disc((0.0, 0.4 * stretch), 0.4, shade(main, 0.75), stretch)
        pen.disc((-0.03, 0.43 * stretch), 0.33, main, stretch)
        for turn in (0.0, pi / 2):
            arm = 0.3 * cos(turn - phase), 0.3 * stretch * sin(turn - phase)
            middle = 0.4 * stretch
            pen.bar((-arm[0], middle - arm[1]), (arm[0], middle + arm[1]), 0.07, second)

    return draw


def _animal(_stage: Stage, rng: np.random.Generator, main: Colour) -> Shape:
    """A low body on four walking legs: a dog, a deer."""
    low, thick = float(rng.uniform(0.25, 0.45)), float(rng.uniform(0.1, 0.16))

    def draw(pen: Pen, phase: float) -> None:
        for x, lag in ((-0.3, 0.0), (0.24, pi), (-0.24, pi), (0.3, 0.0)):
            swing = 0.1 * sin(phase + lag)
            pen.bar((x, low), (x + swing, 0.03), 0.06, shade(main, 0.8))
        pen.bar((-0.3, low + 0.06), (0.28, low + 0.08), 2 * thick, main)
        pen.bar((-0.28, low), (0.26, low + 0.02), 0.8 * thick, shade(main, 0.8))
        pen.bar((0.28, low + 0.1), (0.42, low + 0.3), 0.12, main)
        pen.disc((0.47, low + 0.33), 0.1, shade(main, 0.9), 0.75)
        pen.bar((-0.38, low + 0.1), (-0.5, low + 0.2), 0.04, main)

    return draw


def _trolley(stage: Stage, rng: np.random.Generator, main: Colour) -> Shape:
    """A shopping trolley or pushchair: basket with bars, handle, small wheels."""
    load = random_colour(stage, rng)
    filled = bool(rng.random() < 0.5)

    def draw(pen: Pen, _phase: float) -> None:
        basket = [(-0.3, 0.35), (0.35, 0.42), (0.42, 0.78), (-0.36, 0.78)]
        if filled:
            pen.polygon(basket, load)
        for i in range(6):
            share = i / 5
            pen.bar(
                (-0.3 + 0.65 * share, 0.35 + 0.07 * share), (-0.36 + 0.78 * share, 0.78), 0.03, main
            )
        for low in (0.37, 0.57, 0.78):
            pen.bar((-0.33, low), (0.4, low), 0.03, main)
        pen.bar((-0.34, 0.75), (-0.5, 0.95), 0.05, shade(main, 0.7))
        pen.bar((-0.28, 0.37), (-0.3, 0.08), 0.04, main)
        pen.bar((-0.3, 0.14), (0.36, 0.14), 0.04, main)
        for x in (-0.3, 0.34):
            pen.disc((x, 0.06), 0.06, (35, 35, 35))

    return draw


_SHAPES = (_box, _vehicle, _bicycle, _ball, _animal, _trolley)


def _lit(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lighter at the top, darker at the foot, and a little worn: nothing real is of one level."""
    height, width = picture.shape[:2]
    fall = np.linspace(1.12, 0.82, height, dtype=np.float32)[:, None, None]
    # The same wear in each phase, so that it does not flicker.
    grain = np.random.default_rng(height).normal(0.0, 1.0, (6, 6)).astype(np.float32)
    wear = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(picture * fall * (1.0 + 0.06 * wear), 0, 255).astype(np.uint8)


def _seen(
    fine: NDArray[np.uint8], cover: NDArray[np.uint8], sigma: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Averaged down to the picture's pixels and blurred."""
    size = max(1, fine.shape[1] // _FINER), max(1, fine.shape[0] // _FINER)
    picture = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(cover, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma)
    alpha = cv2.GaussianBlur(coverage, (0, 0), sigma)
    return np.asarray(blurred, np.uint8), np.asarray(alpha, np.float32)
