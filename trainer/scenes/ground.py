"""The place without its people: lanes, scale with depth, and the painted background."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.scenes.brush import Brush, Colour
from trainer.scenes.settings import SceneSettings

# Shares of the picture height, from above.
_WALL_END, _VERGE_END, _WALK_END = 0.31, 0.40, 0.88
_DIVIDER = 0.65
_UPPER_FEET, _LOWER_FEET = (0.49, 0.61), (0.70, 0.84)
# Scale of people at the first and last foot line when the view has perspective.
_FAR_SCALE, _NEAR_SCALE = 0.65, 1.25


@dataclass(frozen=True)
class Lane:
    """A strip of the walkway with one direction of travel.

    Attributes:
        heading: +1 to the right, -1 to the left.
        feet: Least and greatest y of the feet, px.
    """

    heading: int
    feet: tuple[float, float]


def lanes(settings: SceneSettings) -> tuple[Lane, Lane]:
    """Right-hand traffic seen from the side: the upper lane goes left, the lower one right."""
    upper, lower = (
        (first * settings.height, last * settings.height)
        for first, last in (_UPPER_FEET, _LOWER_FEET)
    )
    return Lane(-1, upper), Lane(1, lower)


def scale_at(settings: SceneSettings, foot_y: float) -> float:
    """Size and speed of actors whose feet are at `foot_y` (px) against the reference figures."""
    if not settings.perspective:
        return settings.unit
    first, last = _UPPER_FEET[0] * settings.height, _LOWER_FEET[1] * settings.height
    share = (foot_y - first) / (last - first)
    return settings.unit * (_FAR_SCALE + (_NEAR_SCALE - _FAR_SCALE) * share)


def paint_background(settings: SceneSettings) -> NDArray[np.uint8]:
    """The empty scene: brick wall with windows, verge, paved walkway, grass.

    Returns:
        uint8, (height, width, 3), BGR; the same for equal size, seed and perspective.
    """
    rng = np.random.default_rng([settings.seed, 0])
    height, width = settings.height, settings.width
    picture = np.zeros((height, width, 3), np.uint8)
    bounds = [round(share * height) for share in (0.0, _WALL_END, _VERGE_END, _WALK_END, 1.0)]
    grounds: tuple[tuple[Colour, float], ...] = (
        ((92, 108, 138), 4.0),
        ((62, 116, 84), 9.0),
        ((158, 166, 170), 4.0),
        ((58, 122, 88), 10.0),
    )
    for (first, last), (colour, grain) in zip(pairwise(bounds), grounds, strict=True):
        picture[first:last] = _textured(rng, last - first, width, colour, grain)
    brush = Brush(picture)
    _draw_wall(brush, rng, settings, bounds[1])
    _draw_paving(brush, settings, bounds[2], bounds[3])
    return picture


def _textured(
    rng: np.random.Generator, height: int, width: int, colour: Colour, grain: float
) -> NDArray[np.uint8]:
    """A colour with fine grain and broad patches, both `grain` grey levels strong."""
    fine = rng.normal(0.0, grain, (height, width))
    coarse = rng.normal(0.0, 1.0, (height // 12 + 2, width // 24 + 2))
    patches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * grain
    light = (fine + np.asarray(patches, np.float64))[:, :, np.newaxis]
    return np.clip(np.asarray(colour) + light, 0, 255).astype(np.uint8)


def _draw_wall(brush: Brush, rng: np.random.Generator, settings: SceneSettings, end: int) -> None:
    unit, width = settings.unit, settings.width
    mortar: Colour = (104, 116, 140)
    course = 7.0 * unit
    for row in range(int(end / course) + 1):
        y = row * course
        brush.limb((0.0, y), (float(width), y), 1.0, 1.0, mortar)
        for x in np.arange((row % 2) * course, width, 2 * course):
            brush.limb((float(x), y), (float(x), min(y + course, end - 1.0)), 1.0, 1.0, mortar)
    for left in np.arange(24.0 * unit, width, 84.0 * unit):
        glass = int(rng.integers(60, 105))
        for inset, colour in (
            (0.0, (190, 195, 200)),
            (3.0 * unit, (glass + 25, glass, glass - 15)),
        ):
            x0, x1 = float(left) + inset, float(left) + 36.0 * unit - inset
            y0, y1 = 16.0 * unit + inset, 60.0 * unit - inset
            brush.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)
    foot = [(0.0, end - 5.0 * unit), (float(width), end - 5.0 * unit)]
    brush.polygon([*foot, (float(width), float(end)), (0.0, float(end))], (105, 108, 112))


def _draw_paving(brush: Brush, settings: SceneSettings, first: int, last: int) -> None:
    """Slabs, kerbs and the broken line between the lanes."""
    unit, width = settings.unit, float(settings.width)
    joint: Colour = (140, 148, 152)
    step = 18.0 * unit
    # Joints across the walkway meet far above the picture, or never without perspective.
    spread = 1.6 if settings.perspective else 1.0
    for x in np.arange(-width, 2 * width, 2 * step):
        bottom = width / 2 + (float(x) - width / 2) * spread
        brush.limb((float(x), float(first)), (bottom, float(last)), 1.0, 1.0, joint)
    for y in np.arange(first + step, last, step):
        brush.limb((0.0, float(y)), (width, float(y)), 1.0, 1.0, joint)
    for y in (first, last):
        brush.limb((0.0, float(y)), (width, float(y)), 4.0 * unit, 4.0 * unit, (176, 184, 188))
    divider = _DIVIDER * settings.height
    for x in np.arange(8.0 * unit, width, 40.0 * unit):
        dash = (float(x), divider), (float(x) + 20.0 * unit, divider)
        brush.limb(*dash, 2.5 * unit, 2.5 * unit, (208, 216, 218))
