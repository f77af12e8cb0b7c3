"""Places that stay unlike normal: a parked car must not alarm all night, nor hide a thief.

An event that lasts too long is ended by `edge.events.tracker`; what has stood out all the while is
then taken for a change of the scene. Rules:

1. A cell stays above the threshold from its first frame above until it has been below for more
   than `GAP_S`.
2. `hold` takes the cells that have stayed for `STAYED_S`, and their neighbours. Held cells count as
   normal; every other cell alarms as before.
3. A held cell counts again when it has not been above for `NORMAL_S`.
4. Time without frames does not count, so a camera that was lost is no cause to alarm again.

Nothing of it is silent: the event that ends says so, the camera shows a flag while cells are held,
and where half of the picture is held the camera has a fault.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import ScoreMap
from edge.scoring.smooth import Smoother
from engines.model_spec import FusionSpec

STAYED_S = 120.0
GAP_S = 2.0
NORMAL_S = 60.0

_LONGEST_STEP_S = 10.0  # slower cameras are not watched; a longer step is a pause


class LastingCells:
    """One camera's cells that are held.

    Args:
        threshold: Scores strictly above it alarm.
        fusion: How the frame score comes from the map.
    """

    def __init__(self, threshold: float, fusion: FusionSpec) -> None:
        self._threshold = threshold
        self._fusion = fusion
        self._now_s = 0.0
        self._newest_s: float | None = None
        self.reset((0, 0))

    def reset(self, shape: tuple[int, int] = (0, 0)) -> None:
        """Forget all: the picture is another."""
        self._above: NDArray[np.bool_] = np.zeros(shape, np.bool_)
        self._began_s = np.full(shape, np.inf)
        self._last_s = np.full(shape, -np.inf)
        self._core: NDArray[np.bool_] = np.zeros(shape, np.bool_)
        self._held = self._core
        self._smoother: Smoother | None = None

    @property
    def share(self) -> float:
        """Part of the picture that is held, 0 to 1."""
        return float(self._held.mean()) if self._held.size else 0.0

    def watch(self, scored: ScoreMap) -> ScoreMap:
        """Take the next frame's scores; the same without what is held."""
        if scored.map.shape != self._held.shape:
            self.reset((scored.map.shape[0], scored.map.shape[1]))
        now = self._advance(scored.time_s)
        self._above = scored.map > self._threshold
        self._began_s = np.where(self._above, np.minimum(self._began_s, now), self._began_s)
        self._last_s[self._above] = now
        self._began_s[~self._above & (now - self._last_s > GAP_S)] = np.inf
        if not self._core.any():
            return scored
        self._hold(self._core & (now - self._last_s < NORMAL_S))
        return self._without_held(scored) if self._held.any() else scored

    def hold(self) -> bool:
        """An event has lasted too long: hold what has stayed; whether nothing else is above now."""
        stayed = self._now_s - self._began_s >= STAYED_S
        self._hold(self._core | stayed)
        return bool(stayed.any()) and not bool((self._above & ~self._held).any())

    def _hold(self, core: NDArray[np.bool_]) -> None:
        self._core = core
        # The fringe of what has stayed comes and goes with the light.
        self._held = cv2.dilate(core.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
        if not core.any():
            self._smoother = None

    def _advance(self, time_s: float) -> float:
        """Seconds watched so far; a source that is opened again begins anew."""
        step = 0.0 if self._newest_s is None else time_s - self._newest_s
        self._newest_s = time_s
        if 0.0 <= step <= _LONGEST_STEP_S:
            self._now_s += step
        return self._now_s

    def _without_held(self, scored: ScoreMap) -> ScoreMap:
        rest = scored.map[~self._held]
        low = min(0.0, float(scored.map.min()))
        count = min(self._fusion.top_cells, rest.size)
        highest = np.partition(rest, rest.size - count)[-count:] if count else np.array([low])
        raw_score = float(highest.mean())
        if self._smoother is None:
            self._smoother = Smoother(self._fusion.smoothing)
        return replace(
            scored,
            map=np.where(self._held, np.float32(low), scored.map),
            raw_score=raw_score,
            score=self._smoother.update(self._now_s, raw_score),
        )
