"""A frame of our own through the networks: shows that they still answer when no camera does."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.daemon_settings import Scorer
from edge.frames import Frame
from engines.errors import InternalError

HEIGHT, WIDTH = 240, 320


class Probe:
    """Puts one picture of noise after the other through a pipeline, in a view of its own.

    Noise moves everywhere, so every gate opens and every network is run.

    Args:
        pipeline: The one that scores the cameras.
    """

    def __init__(self, pipeline: Scorer) -> None:
        self._pipeline = pipeline
        self._view: Any = None
        self._random = np.random.default_rng(0)
        self._index = 0

    def __call__(self) -> None:
        """One picture.

        Raises:
            InternalError: The answer is no number.
            VigilError: The networks fail.
        """
        if self._view is None:
            self._view = self._pipeline.new_view()
        picture = self._random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        frame = Frame(index=self._index, time_s=self._index / 10.0, bgr=picture)
        self._index += 1
        scored = self._pipeline.step([(self._view, frame)])[0]
        if not np.isfinite(scored.score):
            raise InternalError(
                f"the networks gave {scored.score} for a test picture",
                mend="vigil doctor tests them against their golden answers",
            )
