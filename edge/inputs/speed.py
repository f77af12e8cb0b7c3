"""Speed of what moves, as an energy of its own: nothing is learned but what is normal where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, only_options, positive
from edge.vision.observe import Observation
from edge.vision.speed import largest_nearby
from edge.vision.steady_flow import SteadyFlow
from engines.model_spec import FrameSpec, GateSpec, InputSpec


class SpeedInput:
    """Kind ``speed``: the steady speed in px per second, one feature per 8 px cell.

    Options: ``time_constant_s`` of the smoothing, ``floor`` in px per second below which a cell is
    inactive. It needs no network.
    """

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        del gate  # speed is its own gate
        options = only_options(spec, {"time_constant_s": 0.28, "floor": 5.0})
        self._floor = positive(options, "floor")
        self._flow = SteadyFlow(
            height=frame.height,
            width=frame.width,
            time_constant_s=positive(options, "time_constant_s"),
        )
        self._shape = largest_nearby(self._flow.speed).shape

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._shape[0], self._shape[1]

    def reset(self) -> None:
        """Forget the past."""
        self._flow.reset()

    def observe(self, observation: Observation) -> Cells:
        """Cells that are faster than the floor, with their speed; without a flow none is known."""
        known = observation.coarse_flow is not None and observation.dt_s > 0.0
        if observation.coarse_flow is not None and known:
            self._flow.update(observation.coarse_flow, observation.dt_s)
            speed = largest_nearby(self._flow.speed)
        else:
            speed = np.zeros(self.shape, np.float32)
        rows, columns = np.nonzero(speed > self._floor)

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            return speed[r, c][:, None]

        return Cells(rows, columns, self.shape, warm_up=not known, cut=cut, fresh=known)
