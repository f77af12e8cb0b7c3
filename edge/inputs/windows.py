"""Windows of an object's size around whatever moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, Cut, only_options, positive
from edge.inputs.due import Due
from edge.vision.observe import Observed
from edge.vision.steady_flow import SteadyFlow
from edge.vision.windows import WindowGrid
from engines.model_spec import FrameSpec, GateSpec, InputSpec


@dataclass(frozen=True)
class WindowPlan:
    """What the array work of a window input needs to know.

    Attributes:
        grid: The windows.
        time_constant_s: Of the steady speed, in seconds.
        floor: Steady speed in px per second above which something moves.
        grey: One channel instead of three.
    """

    grid: WindowGrid
    time_constant_s: float
    floor: float
    grey: bool


class WindowWork(Protocol):
    """The array work of a window input, on the CPU or on a GPU."""

    def reset(self) -> None:
        """Forget the past."""

    def advance(self, observation: Observed) -> None:
        """Take a flow."""

    def share_moving(self) -> NDArray[np.float32]:
        """Share of each grid cell in which something travels; float32, rows x columns."""

    def cut(self, observation: Observed) -> Cut:
        """Cuts windows out of this picture, RGB (or grey) in [0, 1]."""


class HostWindows:
    """`WindowWork` on the CPU."""

    def __init__(self, plan: WindowPlan) -> None:
        self._plan = plan
        self._flow = SteadyFlow(
            height=plan.grid.height,
            width=plan.grid.width,
            time_constant_s=plan.time_constant_s,
        )

    def reset(self) -> None:
        """Forget the past."""
        self._flow.reset()

    def advance(self, observation: Observed) -> None:
        """Take a flow."""
        assert observation.coarse_flow is not None
        self._flow.update(observation.coarse_flow, observation.dt_s)

    def share_moving(self) -> NDArray[np.float32]:
        """Share of each grid cell in which something travels; float32, rows x columns."""
        moving = (self._flow.speed > self._plan.floor).astype(np.float32)
        size = self._plan.grid.shape[::-1]
        return np.asarray(cv2.resize(moving, size, interpolation=cv2.INTER_AREA), np.float32)

    def cut(self, observation: Observed) -> Cut:
        """Cuts windows out of this picture, RGB (or grey) in [0, 1]."""
        grid, grey = self._plan.grid, self._plan.grey

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            picture = observation.gray[..., None] if grey else observation.bgr
            return unit_planes(grid.gather(picture, r, c))

        return cut


class WindowInput:
    """Kind ``window``: the picture around each moving cell, RGB in [0, 1], at an object's size.

    `InputSpec.patch` is the side that every window is scaled to, `stride` the side of a grid cell.
    Options: ``top`` and ``bottom``: side of the window in working pixels at the upper and lower
    edge of the picture; ``floor`` in px per second of steady speed and ``share`` of a cell's area
    that must exceed it; ``time_constant_s`` of that speed; ``every_s``: windows are looked at this
    often, 0 means at each frame; ``grey``: one channel instead of three. On the first frame, when
    nothing is known of motion, every cell is looked at. `work` says where the arrays are.
    """

    def __init__(
        self,
        spec: InputSpec,
        frame: FrameSpec,
        gate: GateSpec,
        work: Callable[[WindowPlan], WindowWork] = HostWindows,
    ) -> None:
        options = only_options(
            spec,
            {
                "top": 40.0,
                "bottom": 40.0,
                "floor": 5.0,
                "share": 0.08,
                "time_constant_s": 0.28,
                "every_s": 0.0,
                "grey": False,
            },
        )
        self._share = positive(options, "share")
        self._due = Due(options["every_s"])
        self._gated = gate.enabled
        self._grid = WindowGrid(
            height=frame.height,
            width=frame.width,
            stride=spec.stride,
            top=positive(options, "top"),
            bottom=positive(options, "bottom"),
            side=spec.patch,
        )
        self._work = work(
            WindowPlan(
                grid=self._grid,
                time_constant_s=positive(options, "time_constant_s"),
                floor=positive(options, "floor"),
                grey=bool(options["grey"]),
            )
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._work.reset()
        self._due.reset()

    def observe(self, observation: Observed) -> Cells:
        """Cells in which something travels; none while a look is not due."""
        if observation.has_flow and observation.dt_s > 0.0:
            self._work.advance(observation)
        due = self._due.take(observation)
        active = self._active(observation) if due else np.zeros(self.shape, np.bool_)
        rows, columns = np.nonzero(active)
        cut = self._work.cut(observation)
        return Cells(rows, columns, self.shape, warm_up=False, cut=cut, fresh=due)

    def _active(self, observation: Observed) -> NDArray[np.bool_]:
        if not observation.has_flow or not self._gated:
            return np.ones(self.shape, np.bool_)
        return np.asarray(self._work.share_moving() > self._share)


def unit_planes(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures as a network takes them, in one pass and laid out plane after plane.

    Args:
        pictures: uint8, N x side x side x channels, BGR or one channel.

    Returns:
        float32, N x channels x side x side in [0, 1], RGB or one channel.
    """
    planes = np.moveaxis(pictures[..., ::-1], -1, 1)
    result = np.empty(planes.shape, np.float32)
    np.multiply(planes, np.float32(1.0 / 255.0), out=result)
    return result
