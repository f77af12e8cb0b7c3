"""Speed of what moves, as an energy of its own: nothing is learned but what is normal where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, only_options, positive
from edge.vision.observe import COARSE_PX, Observed
from edge.vision.speed import READ_STEP, largest_nearby
from edge.vision.steady_flow import SteadyFlow
from engines.model_spec import FrameSpec, GateSpec, InputSpec


class SpeedWork(Protocol):
    """The array work of a speed input, on the CPU or on a GPU."""

    def reset(self) -> None:
        """Forget the past."""

    def speed(self, observation: Observed) -> NDArray[np.float32]:
        """Take a flow; returns the steady speed on the 8 px grid, px per second."""


class HostSpeed:
    """`SpeedWork` on the CPU.

    Args:
        frame: Working size.
        time_constant_s: Of the smoothing, in seconds.
    """

    def __init__(self, frame: FrameSpec, time_constant_s: float) -> None:
        self._flow = SteadyFlow(
            height=frame.height, width=frame.width, time_constant_s=time_constant_s
        )

    def reset(self) -> None:
        """Forget the past."""
        self._flow.reset()

    def speed(self, observation: Observed) -> NDArray[np.float32]:
        """Take a flow; returns the steady speed on the 8 px grid, px per second."""
        assert observation.coarse_flow is not None
        self._flow.update(observation.coarse_flow, observation.dt_s)
        return largest_nearby(self._flow.speed)


class SpeedInput:
    """Kind ``speed``: the steady speed in px per second, one feature per 8 px cell.

    Options: ``time_constant_s`` of the smoothing, ``floor`` in px per second below which a cell is
    inactive. It needs no network. `work` says where the arrays are.
    """

    def __init__(
        self,
        spec: InputSpec,
        frame: FrameSpec,
        gate: GateSpec,
        work: Callable[[FrameSpec, float], SpeedWork] = HostSpeed,
    ) -> None:
        del gate  # speed is its own gate
        options = only_options(spec, {"time_constant_s": 0.28, "floor": 5.0})
        self._floor = positive(options, "floor")
        self._work = work(frame, positive(options, "time_constant_s"))
        rows, columns = frame.height // COARSE_PX, frame.width // COARSE_PX
        self._shape = -(-rows // READ_STEP), -(-columns // READ_STEP)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._shape

    def reset(self) -> None:
        """Forget the past."""
        self._work.reset()

    def observe(self, observation: Observed) -> Cells:
        """Cells that are faster than the floor, with their speed; without a flow none is known."""
        known = observation.has_flow and observation.dt_s > 0.0
        speed = self._work.speed(observation) if known else np.zeros(self.shape, np.float32)
        rows, columns = np.nonzero(speed > self._floor)

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            return speed[r, c][:, None]

        return Cells(rows, columns, self.shape, warm_up=not known, cut=cut, fresh=known)
