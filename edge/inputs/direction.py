"""Direction of what travels: where it is and which way it goes, one feature per 8 px cell."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, only_options, positive
from edge.vision.carry import Carried
from edge.vision.observe import COARSE_PX, Observed
from edge.vision.speed import READ_STEP
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec

# Side in 4 px cells of what one 8 px cell looks at.
_REACH = 3


class DirectionInput:
    """Kind ``direction``: float32 N x 3 features (row, column, angle in turns).

    The angle is that of the steady motion (mean over time along the motion itself): 0 to the right,
    0.25 down the picture, in [0, 1). A cell is active where something is faster than the floor and
    has a direction at all: the mean of its velocity vectors, over the time constant and the cell's
    surroundings, must be nearly as long as they are on average. Trembling, noise and two things
    that pass each other have none. Until one time constant has passed nothing is known.

    Options: ``time_constant_s`` of the mean; ``floor`` in px per second of steady speed;
    ``coherence``: length of the mean vector / mean length that a cell must reach, at most 1. It
    needs no network.
    """

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        del gate  # the speed is its own gate
        options = only_options(spec, {"time_constant_s": 0.5, "floor": 5.0, "coherence": 0.6})
        self._time_constant_s = positive(options, "time_constant_s")
        self._floor = positive(options, "floor")
        self._coherence = positive(options, "coherence")
        if self._coherence > 1.0:
            raise DataError(f"input option coherence is at most 1, it is {self._coherence:g}")
        shape = (frame.height // COARSE_PX, frame.width // COARSE_PX)
        self._carried = Carried(shape, self._time_constant_s)
        """float32, rows x columns x 3 on the 4 px grid: u, v and their length, px per second."""
        self._shape = (-(-shape[0] // READ_STEP), -(-shape[1] // READ_STEP))
        self._seen_s = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._shape

    def reset(self) -> None:
        """Forget the past."""
        self._carried.reset()
        self._seen_s = 0.0

    def observe(self, observation: Observed) -> Cells:
        """Cells in which something travels one way; without a flow none is known."""
        turns = np.zeros(self._shape, np.float32)
        active = np.zeros(self._shape, np.bool_)
        flowed = observation.coarse_flow is not None and observation.dt_s > 0.0
        if observation.coarse_flow is not None and flowed:
            motion = self._mean_motion(observation.coarse_flow, observation.dt_s)
            self._seen_s += observation.dt_s
            turns, active = self._read(motion)
        # Half a frame's grace: times are sums of rounded steps.
        known = flowed and self._seen_s >= self._time_constant_s - 0.5 * observation.dt_s
        rows, columns = np.nonzero(active & known)

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.stack([r, c, turns[r, c]], axis=1).astype(np.float32)

        return Cells(rows, columns, self.shape, warm_up=not known, cut=cut, fresh=known)

    def _mean_motion(self, coarse_flow: NDArray[np.float32], dt_s: float) -> NDArray[np.float32]:
        velocity = coarse_flow / np.float32(dt_s)
        length = np.hypot(velocity[..., 0], velocity[..., 1])
        motion = self._carried.update(
            np.dstack([velocity, length]), coarse_flow / np.float32(COARSE_PX), dt_s
        )
        assert motion is not None
        return motion

    def _read(self, motion: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Angle (turns) and whether there is one, on the 8 px grid."""
        speed = np.hypot(motion[..., 0], motion[..., 1])
        fastest = cv2.dilate(speed, np.ones((_REACH, _REACH), np.uint8))[::READ_STEP, ::READ_STEP]
        near = cv2.blur(motion, (_REACH, _REACH), borderType=cv2.BORDER_REPLICATE)
        u, v, length = np.moveaxis(near[::READ_STEP, ::READ_STEP], -1, 0)
        turns = (np.arctan2(v, u) / np.float32(2.0 * math.pi)) % np.float32(1.0)
        turns[turns >= 1.0] = 0.0  # a tiny negative angle rounds up
        active = (fastest > self._floor) & (np.hypot(u, v) >= self._coherence * length)
        return turns.astype(np.float32), np.asarray(active, dtype=np.bool_)
