"""From the scene to the picture that a camera delivers: optics, light, sensor, compression."""

from __future__ import annotations

from math import pi, sin
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import InternalError
from trainer.scenes.settings import SceneSettings
from trainer.scenes.weather import Weather

_DRIFT_PERIOD_S = 75.0
_NOISE_MARGIN_PX = 97  # a frame's noise is cut from a larger field at one of 97 x 97 offsets
# Swaying of a pole: frequencies in Hz, along x and y, and shares of the peak; they sum to 1.
_SWAY_HZ, _SWAY_SHARE = ((0.9, 1.3), (2.3, 2.9), (4.1, 3.7)), (0.45, 0.35, 0.2)

Picture = NDArray[np.uint8]
_Level = TypeVar("_Level", np.int16, np.float32)


class NoiseFields:
    """Sensor noise of a scene, larger than its pictures; each frame takes a cutting.

    Attributes:
        fixed: int16, the noise of `SceneSettings.noise`, grey levels.
        unit: float32 of unit variance; None where no condition needs it.
    """

    def __init__(self, settings: SceneSettings) -> None:
        shape = settings.height + _NOISE_MARGIN_PX, settings.width + _NOISE_MARGIN_PX, 3
        rng = np.random.default_rng([settings.seed, 3])
        field = rng.standard_normal(shape, np.float32) * settings.noise
        self.fixed: NDArray[np.int16] = np.rint(field).astype(np.int16)
        self.unit: NDArray[np.float32] | None = None
        if settings.conditions.shot_noise > 0.0 or settings.conditions.read_noise > 0.0:
            rng = np.random.default_rng([settings.seed, 4])
            self.unit = rng.standard_normal(shape, np.float32)


class Imaging:
    """The camera during one clip. Frames are to be passed in order, each once.

    Args:
        settings: Of the scene.
        fields: Its noise.
        seed: Of the clip.
        seconds: Length of the clip.
    """

    def __init__(
        self, settings: SceneSettings, fields: NoiseFields, seed: tuple[int, ...], seconds: float
    ) -> None:
        self._settings, self._fields = settings, fields
        self._rng = np.random.default_rng(seed)
        self._drift_start = float(self._rng.uniform(0.0, 2.0 * pi))
        # Apart from the generator above: the noise of a scene without conditions stays as it is.
        rng = np.random.default_rng([*seed, 1])
        self._sway_start = rng.uniform(0.0, 2.0 * pi, (len(_SWAY_HZ), 2)).tolist()
        self._flicker_start = float(rng.uniform(0.0, 2.0 * pi))
        self._lamp_on = bool(rng.random() < 0.5)
        self.light_steps_s = _step_times(rng, settings.conditions.light_step_s, seconds)
        self._cuttings = np.random.default_rng([*seed, 2])
        self._weather = Weather(settings, np.random.default_rng([*seed, 3]))

    def optics(
        self, picture: Picture, truth: Picture | None, time_s: float
    ) -> tuple[Picture, Picture | None]:
        """Weather, shake and blur.

        Args:
            picture: uint8, (h, w, 3), BGR.
            truth: uint8, (h, w), coverage by anomalous actors; it shakes along.
            time_s: Of the frame.
        """
        conditions = self._settings.conditions
        picture = self._weather.over(picture, time_s)
        if conditions.shake > 0.0:
            offset = self.displacement(time_s)
            picture = _moved(picture, offset, cv2.INTER_CUBIC)
            truth = None if truth is None else _moved(truth, offset, cv2.INTER_LINEAR)
        if conditions.defocus > 0.0:
            sigma = conditions.defocus * self._settings.unit
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
        return picture, truth

    def displacement(self, time_s: float) -> tuple[float, float]:
        """How far the scene is moved in the picture at a time: right and down, px."""
        peak = self._settings.conditions.shake * self._settings.unit
        x, y = (
            peak
            * sum(
                share * sin(2.0 * pi * hertz[axis] * time_s + start[axis])
                for share, hertz, start in zip(_SWAY_SHARE, _SWAY_HZ, self._sway_start, strict=True)
            )
            for axis in (0, 1)
        )
        return x, y

    def sensed(self, picture: Picture, time_s: float) -> Picture:
        """Light, sensor and compression; takes and gives uint8, (h, w, 3), BGR."""
        conditions = self._settings.conditions
        gain = self.gain(time_s)
        if gain != 1.0 or conditions.black > 0.0:
            lit = cv2.convertScaleAbs(picture, alpha=gain, beta=conditions.black)
            picture = np.asarray(lit, np.uint8)
        if conditions.grey:
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        picture = self._with_noise(picture)
        if conditions.jpeg_quality is not None:
            picture = _compressed(picture, conditions.jpeg_quality)
        return picture

    def gain(self, time_s: float) -> float:
        """Brightness at a time against the scene as painted."""
        settings, conditions = self._settings, self._settings.conditions
        gain = conditions.exposure
        drift = settings.light_drift + conditions.light_drift
        if drift > 0.0:
            gain *= 1.0 + drift * sin(2.0 * pi * time_s / _DRIFT_PERIOD_S + self._drift_start)
        if conditions.flicker > 0.0:
            turn = 2.0 * pi * conditions.flicker_hz * time_s + self._flicker_start
            gain *= 1.0 + conditions.flicker * sin(turn)
        steps = sum(step <= time_s for step in self.light_steps_s)
        if self._lamp_on == bool(steps % 2):
            gain *= 1.0 - conditions.light_step
        return gain

    def _with_noise(self, picture: Picture) -> Picture:
        settings, conditions = self._settings, self._settings.conditions
        if self._fields.unit is not None:
            values = picture.astype(np.float32)
            light = np.maximum(values - np.float32(conditions.black), np.float32(0.0))
            variance = light * np.float32(conditions.shot_noise)
            variance += np.float32(conditions.read_noise**2)
            values += np.sqrt(variance) * self._cutting(self._fields.unit, self._cuttings)
            picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        if settings.noise > 0.0:
            noise = self._cutting(self._fields.fixed, self._rng)
            picture = np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)
        return picture

    def _cutting(self, field: NDArray[_Level], rng: np.random.Generator) -> NDArray[_Level]:
        height, width = self._settings.height, self._settings.width
        top, left = (int(offset) for offset in rng.integers(0, _NOISE_MARGIN_PX, 2))
        cutting = field[top : top + height, left : left + width]
        if self._settings.conditions.grey:
            return np.repeat(cutting[:, :, :1], 3, axis=2)
        return cutting


def _step_times(rng: np.random.Generator, mean_s: float, seconds: float) -> list[float]:
    """When the lamp goes out or on, from half to one and a half of the mean apart."""
    times = [float(rng.uniform(0.0, mean_s))]
    while times[-1] < seconds:
        times.append(times[-1] + mean_s * float(rng.uniform(0.5, 1.5)))
    return times


def _moved(picture: Picture, offset: tuple[float, float], interpolation: int) -> Picture:
    matrix = np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]])
    size = picture.shape[1], picture.shape[0]
    moved = cv2.warpAffine(
        picture, matrix, size, flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _compressed(picture: Picture, quality: int) -> Picture:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise InternalError("A rendered picture cannot be compressed")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
