"""Windows of an object's size around whatever moves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, only_options, positive
from edge.vision.observe import Observation
from edge.vision.steady_flow import SteadyFlow
from edge.vision.windows import WindowGrid
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec

# A frame may come this much early and still count as due: clocks of cameras jitter.
_EARLY = 0.25


class WindowInput:
    """Kind ``window``: the picture around each moving cell, RGB in [0, 1], at an object's size.

    `InputSpec.patch` is the side that every window is scaled to, `stride` the side of a grid cell.
    Options: ``top`` and ``bottom``: side of the window in working pixels at the upper and lower
    edge of the picture; ``floor`` in px per second of steady speed and ``share`` of a cell's area
    that must exceed it; ``time_constant_s`` of that speed; ``every_s``: windows are looked at this
    often, 0 means at each frame; ``grey``: one channel instead of three. On the first frame, when
    nothing is known of motion, every cell is looked at.
    """

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
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
        self._floor = positive(options, "floor")
        self._share = positive(options, "share")
        every = options["every_s"]
        if isinstance(every, (bool, str)) or every < 0:
            raise DataError(f"input option every_s must be 0 or more, it is {every!r}")
        self._every_s = float(every)
        self._grey = bool(options["grey"])
        self._gated = gate.enabled
        self._grid = WindowGrid(
            height=frame.height,
            width=frame.width,
            stride=spec.stride,
            top=positive(options, "top"),
            bottom=positive(options, "bottom"),
            side=spec.patch,
        )
        self._flow = SteadyFlow(
            height=frame.height,
            width=frame.width,
            time_constant_s=positive(options, "time_constant_s"),
        )
        self._looked_s: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._flow.reset()
        self._looked_s = None

    def observe(self, observation: Observation) -> Cells:
        """Cells in which something travels; none while a look is not due."""
        if observation.coarse_flow is not None and observation.dt_s > 0.0:
            self._flow.update(observation.coarse_flow, observation.dt_s)
        due = self._due(observation)
        rows, columns = np.nonzero(self._active(observation) & due)
        if due:
            self._looked_s = observation.time_s

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            picture = observation.gray[..., None] if self._grey else observation.bgr
            return unit_planes(self._grid.gather(picture, r, c))

        return Cells(rows, columns, self.shape, warm_up=False, cut=cut, fresh=due)

    def _due(self, observation: Observation) -> bool:
        if self._looked_s is None or self._every_s == 0.0:
            return True
        waited = observation.time_s - self._looked_s
        return waited >= self._every_s - _EARLY * observation.dt_s

    def _active(self, observation: Observation) -> NDArray[np.bool_]:
        if observation.coarse_flow is None or not self._gated:
            return np.ones(self.shape, np.bool_)
        moving = (self._flow.speed > self._floor).astype(np.float32)
        size = (self.shape[1], self.shape[0])
        return np.asarray(cv2.resize(moving, size, interpolation=cv2.INTER_AREA) > self._share)


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
