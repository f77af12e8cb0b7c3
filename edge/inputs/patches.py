"""Patches of the picture and of the motion image, on a regular grid (Fan et al., section III)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, only_options, positive
from edge.vision.dynamic_flow import REPRESENTATIONS, motion_field, to_unit_range
from edge.vision.flow_window import FlowWindow
from edge.vision.gate import CellGate
from edge.vision.observe import Observation
from edge.vision.patches import Grid
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec


class AppearanceInput:
    """Kind ``appearance``: the picture, RGB in [0, 1]; cells that moved in the newest frame."""

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        only_options(spec, {})
        self._grid = Grid(frame.height, frame.width, spec.patch, spec.stride)
        self._gate = CellGate(
            self._grid, min_pixels=gate.min_pixels, memory=1, enabled=gate.enabled
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._gate.reset()

    def observe(self, observation: Observation) -> Cells:
        """Cells of the newest picture."""
        rows, columns = np.nonzero(self._gate.update(observation.moved))

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            patches = self._grid.gather(observation.bgr, r, c)[:, ::-1]
            unit: NDArray[np.float32] = patches.astype(np.float32)
            unit *= np.float32(1.0 / 255.0)
            return unit

        return Cells(rows, columns, self.shape, warm_up=False, cut=cut)


class MotionInput:
    """Kind ``motion``: one image of the last `window` flows, cells that moved in any of them.

    Options: ``representation`` (see `edge.vision.dynamic_flow`), ``window`` (T flows), ``c`` (soft
    margin of Eq. (4)), ``scale`` (S: the field value that becomes 1).
    """

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        options = only_options(
            spec, {"representation": "ranksvm", "window": 20, "c": 1.0, "scale": 1.0}
        )
        self._representation = str(options["representation"])
        if self._representation not in REPRESENTATIONS:
            raise DataError(
                f"motion representation {self._representation!r} is unknown, "
                f"known are {', '.join(REPRESENTATIONS)}"
            )
        self._c = positive(options, "c")
        self._scale = positive(options, "scale")
        length = int(positive(options, "window"))
        self._grid = Grid(frame.height, frame.width, spec.patch, spec.stride)
        self._gate = CellGate(
            self._grid, min_pixels=gate.min_pixels, memory=length, enabled=gate.enabled
        )
        self._window = FlowWindow(length=length, height=frame.height, width=frame.width)
        self._values = frame.height * frame.width * 2
        self.field: NDArray[np.float32] | None = None
        """Unscaled field (u, v, magnitude) of the last observation; None while there is none."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._gate.reset()
        self._window.reset()
        self.field = None

    def observe(self, observation: Observation) -> Cells:
        """Cells of the motion image; none while there are fewer than two flows."""
        active = self._gate.update(observation.moved)
        if observation.flow is not None:
            self._window.push(observation.flow)
        # The field is only worth its price where a cell will be read.
        if active.any():
            self.field = motion_field(
                self._window, self._representation, c=self._c, values=self._values
            )
        else:
            self.field = None
        if self.field is None:
            active = np.zeros_like(active)
        field, scale = self.field, self._scale

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            if field is None:
                return np.zeros((0, 3, self._grid.patch, self._grid.patch), np.float32)
            patches = self._grid.gather(field, r, c).astype(np.float32, copy=False)
            return np.moveaxis(to_unit_range(np.moveaxis(patches, 1, -1), scale), -1, 1)

        rows, columns = np.nonzero(active)
        return Cells(rows, columns, self.shape, warm_up=not self._window.full, cut=cut)
