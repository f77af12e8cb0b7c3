"""The fixed camera: frames of a clip with the truth of each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.scenes.brush import Brush
from trainer.scenes.ground import paint_background
from trainer.scenes.script import Actor, ClipScript
from trainer.scenes.settings import SceneSettings

_DRIFT_PERIOD_S = 75.0
_HALF_COVERED = 128  # a pixel belongs to an actor that covers half of it or more
_NOISE_MARGIN_PX = 97  # a frame's noise is cut from a larger field at one of 97 x 97 offsets


class SceneCamera:
    """Draws clips of one scene. Holds the background and a field of sensor noise."""

    def __init__(self, settings: SceneSettings) -> None:
        self._settings = settings
        self.background = paint_background(settings)
        height, width = settings.height + _NOISE_MARGIN_PX, settings.width + _NOISE_MARGIN_PX
        rng = np.random.default_rng([settings.seed, 3])
        field = rng.standard_normal((height, width, 3), np.float32) * settings.noise
        self._noise: NDArray[np.int16] = np.rint(field).astype(np.int16)

    def frames(
        self, script: ClipScript
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]]:
        """Frames of a clip, in order.

        Yields:
            uint8, (height, width, 3), BGR, and bool, (height, width), the pixels of anomalous
            actors that nobody in front hides; None in place of a mask with no pixel set.
        """
        rng = np.random.default_rng(script.noise_seed)
        drift_start = float(rng.uniform(0.0, 2.0 * pi))
        for index in range(script.frames):
            time_s = index / self._settings.fps
            picture, mask = self.draw(script.actors, time_s)
            yield self._sensed(picture, rng, time_s, drift_start), mask

    def draw(
        self, actors: Sequence[Actor], time_s: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The scene at a time, before light and sensor noise; actors far to near.

        Returns:
            Picture and mask as in `frames`.
        """
        picture = self.background.copy()
        visible = [actor for actor in actors if self._in_view(actor, time_s)]
        watched = any(actor.anomalous_from_s <= time_s for actor in visible)
        truth = np.zeros(picture.shape[:2], np.uint8) if watched else None
        for actor in visible:
            value = 255 if actor.anomalous_from_s <= time_s else 0
            actor.painter.draw(Brush(picture, truth, value), actor.route.at(time_s))
        if truth is None:
            return picture, None
        mask = truth >= _HALF_COVERED
        return picture, mask if mask.any() else None

    def _in_view(self, actor: Actor, time_s: float) -> bool:
        margin = actor.painter.half_width
        return -margin <= actor.route.at(time_s).x <= self._settings.width + margin

    def _sensed(
        self,
        picture: NDArray[np.uint8],
        rng: np.random.Generator,
        time_s: float,
        drift_start: float,
    ) -> NDArray[np.uint8]:
        """What the sensor makes of it: slow light, then noise."""
        settings = self._settings
        if settings.light_drift > 0.0:
            gain = 1.0 + settings.light_drift * sin(
                2.0 * pi * time_s / _DRIFT_PERIOD_S + drift_start
            )
            picture = np.asarray(cv2.convertScaleAbs(picture, alpha=gain), np.uint8)
        if settings.noise > 0.0:
            top, left = (int(offset) for offset in rng.integers(0, _NOISE_MARGIN_PX, 2))
            noise = self._noise[top : top + settings.height, left : left + settings.width]
            picture = np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)
        return picture
