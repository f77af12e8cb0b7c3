"""The fixed camera: frames of a clip with the truth of each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.scenes.actor import Actor
from trainer.scenes.brush import Brush
from trainer.scenes.ground import paint_background
from trainer.scenes.imaging import Imaging, NoiseFields
from trainer.scenes.script import ClipScript
from trainer.scenes.settings import SceneSettings

_HALF_COVERED = 128  # a pixel belongs to an actor that covers half of it or more


class SceneCamera:
    """Draws clips of one scene. Holds the background and fields of sensor noise."""

    def __init__(self, settings: SceneSettings) -> None:
        self._settings = settings
        self.background = paint_background(settings)
        self._noise = NoiseFields(settings)

    def frames(
        self, script: ClipScript
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]]:
        """Frames of a clip, in order, under the scene's conditions.

        Yields:
            uint8, (height, width, 3), BGR, and bool, (height, width), the pixels of anomalous
            actors that nobody in front hides; None in place of a mask with no pixel set.
        """
        imaging = self.imaging(script)
        for index in range(script.frames):
            time_s = index / self._settings.fps
            picture, truth = imaging.optics(*self._painted(script.actors, time_s), time_s)
            yield imaging.sensed(picture, time_s), _mask(truth)

    def imaging(self, script: ClipScript) -> Imaging:
        """What light and camera do during a clip: the same for every call."""
        seconds = script.frames / self._settings.fps
        return Imaging(self._settings, self._noise, script.noise_seed, seconds)

    def draw(
        self, actors: Sequence[Actor], time_s: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The scene at a time, before all conditions and sensor noise; actors far to near.

        Returns:
            Picture and mask as in `frames`.
        """
        picture, truth = self._painted(actors, time_s)
        return picture, _mask(truth)

    def _painted(
        self, actors: Sequence[Actor], time_s: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Picture, and coverage by anomalous actors in 255ths if there is one."""
        picture = self.background.copy()
        visible = [actor for actor in actors if actor.seen_at(time_s, self._settings.width)]
        watched = any(actor.anomalous_from_s <= time_s for actor in visible)
        truth = np.zeros(picture.shape[:2], np.uint8) if watched else None
        for actor in visible:
            value = 255 if actor.anomalous_from_s <= time_s else 0
            actor.painter.draw(Brush(picture, truth, value), actor.route.at(time_s))
        return picture, truth


def _mask(truth: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
    if truth is None:
        return None
    mask = truth >= _HALF_COVERED
    return mask if mask.any() else None
