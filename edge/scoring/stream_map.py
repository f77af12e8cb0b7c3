"""One stream's surprise over time: held while no new look is taken, or carried with the motion."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import StreamScore
from edge.vision.carry import Carried
from edge.vision.observe import COARSE_PX, Observed
from engines.model_spec import StreamSpec


class StreamMap:
    """Memory of one stream of one camera.

    Args:
        stream: Its `blur_cells` and `carry_s`.
        shape: (rows, columns) of the fused map; a carried surprise is on it.
    """

    def __init__(self, stream: StreamSpec, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._blur = stream.blur_cells
        self._carried = Carried(shape, stream.carry_s) if stream.carry_s > 0.0 else None
        self._last: StreamScore | None = None

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self._last = None
        if self._carried is not None:
            self._carried.reset()

    def update(self, score: StreamScore, observation: Observed) -> StreamScore:
        """Take the newest frame's score; returns the one that counts now."""
        if self._blur > 0.0 and score.energy.fresh:
            score = replace(score, surprise=self._blurred(score.surprise))
        if self._carried is None:
            if score.energy.fresh:
                self._last = score
            return self._last or replace(score, known=False)
        fresh = self._on_map(score.surprise) if score.energy.fresh else None
        carried = self._carried.update(fresh, self._flow(observation), observation.dt_s)
        if carried is None:
            return replace(score, surprise=np.zeros(self._shape), known=False)
        return replace(score, surprise=carried.astype(np.float64))

    def _blurred(self, surprise: NDArray[np.float64]) -> NDArray[np.float64]:
        blurred = cv2.GaussianBlur(surprise, (0, 0), self._blur, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, np.float64)

    def _on_map(self, surprise: NDArray[np.float64]) -> NDArray[np.float32]:
        size = (self._shape[1], self._shape[0])
        values = surprise.astype(np.float32)
        return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def _flow(self, observation: Observed) -> NDArray[np.float32] | None:
        """Cells of the map per frame: float32, rows x columns x 2."""
        flow = observation.coarse_flow
        if flow is None:
            return None
        size = (self._shape[1], self._shape[0])
        cells = np.array(size, np.float32) / np.array(flow.shape[1::-1], np.float32) / COARSE_PX
        resized = cv2.resize(flow, size, interpolation=cv2.INTER_AREA)
        return np.multiply(resized, cells, dtype=np.float32)
