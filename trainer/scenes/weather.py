"""Rain and snow before the camera: drops that fall at even speed, each a function of time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.scenes.settings import SceneSettings

_SHIFT = 4  # OpenCV's fixed point: positions in sixteenths of a pixel
_LIGHT = 225.0  # grey level of a drop
_APART = 0.618  # share of the width by which a drop comes back beside where it fell


@dataclass(frozen=True)
class _Fall:
    """How one kind falls; px at the reference height.

    Attributes:
        speed: Slowest and fastest, px per second.
        shutter_s: How long a drop smears.
        width: Thinnest and thickest, px.
        cover: Least and greatest share of the light behind that it hides.
        sway: Slant of the way, px aside for each px down; drawn once for each clip.
    """

    speed: tuple[float, float]
    shutter_s: float
    width: tuple[float, float]
    cover: tuple[float, float]
    sway: float


_RAIN = _Fall((230.0, 340.0), 1.0 / 25.0, (0.8, 1.3), (0.2, 0.5), 0.25)
_SNOW = _Fall((24.0, 48.0), 1.0 / 50.0, (1.6, 3.6), (0.6, 0.95), 0.5)


class Weather:
    """The rain and snow of one clip."""

    def __init__(self, settings: SceneSettings, rng: np.random.Generator) -> None:
        conditions = settings.conditions
        self._showers = [
            _Shower(fall, density, settings, rng)
            for fall, density in ((_RAIN, conditions.rain), (_SNOW, conditions.snow))
            if density > 0.0
        ]

    def over(self, picture: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
        """The picture, uint8 (h, w, 3), seen through what falls at a time."""
        for shower in self._showers:
            cover = shower.cover(time_s)[:, :, np.newaxis]
            mixed = picture + cover * (np.float32(_LIGHT) - picture)
            picture = np.rint(mixed).astype(np.uint8)
        return picture


class _Shower:
    """Drops of one kind."""

    def __init__(
        self, fall: _Fall, density: float, settings: SceneSettings, rng: np.random.Generator
    ) -> None:
        unit = settings.unit
        self._shape = settings.height, settings.width
        count = max(1, round(density * settings.width * settings.height / unit**2 / 1e4))
        self._speed = rng.uniform(*fall.speed, count) * unit
        self._width = np.maximum(1, np.rint(rng.uniform(*fall.width, count) * unit)).astype(int)
        self._cover = np.rint(rng.uniform(*fall.cover, count) * 255.0).astype(int)
        self._start = rng.random((count, 2)) * (settings.width, settings.height)
        self._slant = float(rng.uniform(-fall.sway, fall.sway))
        self._smear = self._speed * fall.shutter_s

    def cover(self, time_s: float) -> NDArray[np.float32]:
        """Share of each pixel that drops hide, float32 (h, w), 0..1."""
        height, width = self._shape
        span = height + float(self._smear.max()) + float(self._width.max())
        fallen = self._start[:, 1] + self._speed * time_s
        y = np.mod(fallen, span)
        x = self._start[:, 0] + _APART * width * np.floor(fallen / span) + self._slant * y
        x = np.mod(x, width)
        heads = np.stack([x, y], axis=1)
        tails = heads - self._smear[:, np.newaxis] * (self._slant, 1.0)
        ends = np.rint(np.concatenate([heads, tails], axis=1) * (1 << _SHIFT)).astype(int)
        layer = np.zeros((height, width), np.uint8)
        drops = zip(ends.tolist(), self._cover.tolist(), self._width.tolist(), strict=True)
        for (x0, y0, x1, y1), value, thick in drops:
            cv2.line(layer, (x0, y0), (x1, y1), (value,), thick, cv2.LINE_AA, _SHIFT)
        return np.asarray(layer / 255.0, np.float32)
