"""Patches of the picture and of the motion image, on a regular grid (Fan et al., section III)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, Cut, only_options, positive, whole
from edge.vision.dynamic_flow import (
    MINIMUM_FLOWS,
    REPRESENTATIONS,
    motion_field,
    to_unit_range,
)
from edge.vision.flow_window import FlowWindow
from edge.vision.gate import CellGate
from edge.vision.observe import Observed
from edge.vision.patches import Grid
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec


class PictureWork(Protocol):
    """The array work of an appearance input, on the CPU or on a GPU."""

    def count(self, observation: Observed) -> NDArray[np.int64]:
        """Moved pixels of each cell; int64, rows x columns."""

    def cut(self, observation: Observed) -> Cut:
        """Cuts cells out of this picture, RGB in [0, 1]."""


class HostPictures:
    """`PictureWork` on the CPU."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def count(self, observation: Observed) -> NDArray[np.int64]:
        """Moved pixels of each cell; int64, rows x columns."""
        return self._grid.count(observation.moved)

    def cut(self, observation: Observed) -> Cut:
        """Cuts cells out of this picture, RGB in [0, 1]."""

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            patches = self._grid.gather(observation.bgr, r, c)[:, ::-1]
            unit: NDArray[np.float32] = patches.astype(np.float32)
            unit *= np.float32(1.0 / 255.0)
            return unit

        return cut


class AppearanceInput:
    """Kind ``appearance``: the picture, RGB in [0, 1]; cells that moved in the newest frame."""

    def __init__(
        self,
        spec: InputSpec,
        frame: FrameSpec,
        gate: GateSpec,
        work: Callable[[Grid], PictureWork] = HostPictures,
    ) -> None:
        only_options(spec, {})
        self._grid = Grid(frame.height, frame.width, spec.patch, spec.stride)
        self._gate = CellGate(
            self._grid, min_pixels=gate.min_pixels, memory=1, enabled=gate.enabled
        )
        self._work = work(self._grid)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._gate.reset()

    def observe(self, observation: Observed) -> Cells:
        """Cells of the newest picture."""
        active = self._gate.update_counts(lambda: self._work.count(observation))
        rows, columns = np.nonzero(active)
        cut = self._work.cut(observation)
        return Cells(rows, columns, self.shape, warm_up=False, cut=cut)


@dataclass(frozen=True)
class MotionPlan:
    """What the array work of a motion input needs to know; see the options of `MotionInput`."""

    grid: Grid
    length: int
    representation: str
    c: float
    scale: float

    @property
    def values(self) -> int:
        """Values per flow."""
        return self.grid.height * self.grid.width * 2


class MotionWork(Protocol):
    """The array work of a motion input, on the CPU or on a GPU."""

    @property
    def full(self) -> bool:
        """The window holds as many flows as it can."""

    @property
    def field(self) -> NDArray[np.float32] | None:
        """Unscaled field (u, v, magnitude) of the last `cut`; None if there was none."""

    def reset(self) -> None:
        """Forget the past."""

    def count(self, observation: Observed) -> NDArray[np.int64]:
        """Moved pixels of each cell; int64, rows x columns."""

    def push(self, observation: Observed) -> None:
        """Take a flow."""

    def cut(self) -> Cut | None:
        """Makes the motion image and cuts cells out of it, in [0, 1]; None: too few flows."""

    def skip(self) -> None:
        """There is no cell to be cut out of this frame."""


class HostMotion:
    """`MotionWork` on the CPU."""

    def __init__(self, plan: MotionPlan) -> None:
        self._plan = plan
        self._window = FlowWindow(
            length=plan.length, height=plan.grid.height, width=plan.grid.width
        )
        self.field: NDArray[np.float32] | None = None
        """Unscaled field (u, v, magnitude) of the last `cut`; None if there was none."""

    @property
    def full(self) -> bool:
        """The window holds as many flows as it can."""
        return self._window.full

    def reset(self) -> None:
        """Forget the past."""
        self._window.reset()
        self.field = None

    def count(self, observation: Observed) -> NDArray[np.int64]:
        """Moved pixels of each cell; int64, rows x columns."""
        return self._plan.grid.count(observation.moved)

    def push(self, observation: Observed) -> None:
        """Take a flow."""
        assert observation.flow is not None
        self._window.push(observation.flow)

    def cut(self) -> Cut | None:
        """Makes the motion image and cuts cells out of it, in [0, 1]; None: too few flows."""
        plan = self._plan
        self.field = motion_field(self._window, plan.representation, c=plan.c, values=plan.values)
        if self.field is None:
            return None
        field = self.field

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            patches = plan.grid.gather(field, r, c).astype(np.float32, copy=False)
            return np.moveaxis(to_unit_range(np.moveaxis(patches, 1, -1), plan.scale), -1, 1)

        return cut

    def skip(self) -> None:
        """There is no cell to be cut out of this frame."""
        self.field = None


class MotionInput:
    """Kind ``motion``: one image of the last `window` flows, cells that moved in any of them.

    Options: ``representation`` (see `edge.vision.dynamic_flow`), ``window`` (T flows), ``c`` (soft
    margin of Eq. (4)), ``scale`` (S: the field value that becomes 1). With fewer than two flows
    nothing is known of motion. `work` says where the arrays are.
    """

    def __init__(
        self,
        spec: InputSpec,
        frame: FrameSpec,
        gate: GateSpec,
        work: Callable[[MotionPlan], MotionWork] = HostMotion,
    ) -> None:
        options = only_options(
            spec, {"representation": "ranksvm", "window": 20, "c": 1.0, "scale": 1.0}
        )
        representation = str(options["representation"])
        if representation not in REPRESENTATIONS:
            raise DataError(
                f"motion representation {representation!r} is unknown, "
                f"known are {', '.join(REPRESENTATIONS)}"
            )
        length = whole(options, "window", least=MINIMUM_FLOWS)
        self._grid = Grid(frame.height, frame.width, spec.patch, spec.stride)
        self._gate = CellGate(
            self._grid, min_pixels=gate.min_pixels, memory=length, enabled=gate.enabled
        )
        self._work = work(
            MotionPlan(
                grid=self._grid,
                length=length,
                representation=representation,
                c=positive(options, "c"),
                scale=positive(options, "scale"),
            )
        )
        self._flows = 0

    @property
    def field(self) -> NDArray[np.float32] | None:
        """Unscaled field (u, v, magnitude) of the last observation; None while there is none."""
        return self._work.field

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._gate.reset()
        self._work.reset()
        self._flows = 0

    def observe(self, observation: Observed) -> Cells:
        """Cells of the motion image; none while there are fewer than two flows."""
        active = self._gate.update_counts(lambda: self._work.count(observation))
        if observation.has_flow:
            self._work.push(observation)
            self._flows += 1
        # The field is only worth its price where a cell will be read.
        cut = self._work.cut() if active.any() else None
        if cut is None:
            self._work.skip()
            active = np.zeros_like(active)
            cut = self._nothing
        rows, columns = np.nonzero(active)
        return Cells(
            rows,
            columns,
            self.shape,
            warm_up=not self._work.full,
            cut=cut,
            fresh=self._flows >= MINIMUM_FLOWS,
        )

    def _nothing(self, r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
        del r, c  # there are none
        return np.zeros((0, 3, self._grid.patch, self._grid.patch), np.float32)
