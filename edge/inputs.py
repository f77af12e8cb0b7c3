"""The table of input kinds: from an observation to the cells that a stream encodes.

A stream names its kind in the manifest; nothing here knows a method's name. One object serves one
camera or clip, because windows and gates remember.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.frames import CellBatch
from edge.vision.dynamic_flow import REPRESENTATIONS, motion_field, to_unit_range
from edge.vision.flow_window import FlowWindow
from edge.vision.gate import CellGate
from edge.vision.observe import Observation
from edge.vision.patches import Grid
from edge.vision.speed import SpeedField
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec, Option


@dataclass(frozen=True)
class Cells:
    """Active cells of one frame, not cut out yet.

    Attributes:
        rows: int64, N positions on the stream's grid.
        columns: int64, N.
        shape: (rows, columns) of the grid.
        warm_up: The time window is not full.
        cut: Cuts the cells with these rows and columns: float32, n x channels x side x side.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]
    warm_up: bool
    cut: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]

    def __len__(self) -> int:
        """Number of active cells."""
        return len(self.rows)

    def gather(self, select: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Cut out all active cells, or those at positions `select`.

        Returns:
            float32, n x channels x side x side in [0, 1] (or n x D features for flat kinds).
        """
        if select is None:
            return self.cut(self.rows, self.columns)
        return self.cut(self.rows[select], self.columns[select])

    def batch(self) -> CellBatch:
        """All active cells as one batch."""
        return CellBatch(data=self.gather(), rows=self.rows, columns=self.columns, shape=self.shape)


class StreamInput(Protocol):
    """One input kind of one camera."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""

    def observe(self, observation: Observation) -> Cells:
        """Take the next observation; returns the cells to be scored."""


class AppearanceInput:
    """Kind ``appearance``: the picture, RGB in [0, 1]; cells that moved in the newest frame."""

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        _only_options(spec, {})
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
        options = _only_options(
            spec, {"representation": "ranksvm", "window": 20, "c": 1.0, "scale": 1.0}
        )
        self._representation = str(options["representation"])
        if self._representation not in REPRESENTATIONS:
            raise DataError(
                f"motion representation {self._representation!r} is unknown, "
                f"known are {', '.join(REPRESENTATIONS)}"
            )
        self._c = _positive(options, "c")
        self._scale = _positive(options, "scale")
        length = int(_positive(options, "window"))
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


class SpeedInput:
    """Kind ``speed``: dense motion-compensated speed as one feature per 8 px cell, px per second.

    Options: ``time_constant_s`` of the smoothing, ``floor`` in px per second below which a cell is
    inactive. It needs no network.
    """

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        del gate  # speed is its own gate
        options = _only_options(spec, {"time_constant_s": 0.28, "floor": 5.0})
        self._floor = float(options["floor"])
        self._speed = SpeedField(
            height=frame.height,
            width=frame.width,
            time_constant_s=_positive(options, "time_constant_s"),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._speed.shape

    def reset(self) -> None:
        """Forget the past."""
        self._speed.reset()

    def observe(self, observation: Observation) -> Cells:
        """Cells that are faster than the floor, with their speed."""
        if observation.flow is None or observation.dt_s <= 0.0:
            speed = np.zeros(self.shape, np.float32)
        else:
            speed = self._speed.update(observation.flow, observation.dt_s)
        rows, columns = np.nonzero(speed > self._floor)

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            return speed[r, c][:, None]

        return Cells(rows, columns, self.shape, warm_up=observation.flow is None, cut=cut)


InputKind = Callable[[InputSpec, FrameSpec, GateSpec], StreamInput]

INPUT_KINDS: dict[str, InputKind] = {
    "appearance": AppearanceInput,
    "motion": MotionInput,
    "speed": SpeedInput,
}


def open_input(spec: InputSpec, *, frame: FrameSpec, gate: GateSpec) -> StreamInput:
    """Make the input of one stream for one camera.

    Raises:
        DataError: Unknown kind, or an option that the kind does not have or cannot take.
    """
    kind = INPUT_KINDS.get(spec.kind)
    if kind is None:
        raise DataError(
            f"input kind {spec.kind!r} is unknown, known are {', '.join(INPUT_KINDS)}",
            mend="install a newer vigil, or export the bundle for this one",
        )
    return kind(spec, frame, gate)


def _only_options(spec: InputSpec, defaults: dict[str, Option]) -> dict[str, Option]:
    unknown = sorted(set(spec.options) - set(defaults))
    if unknown:
        known = ", ".join(sorted(defaults)) or "none"
        raise DataError(
            f"input kind {spec.kind!r} has no option {', '.join(unknown)}; its options are {known}"
        )
    return {**defaults, **spec.options}


def _positive(options: dict[str, Option], key: str) -> float:
    value = options[key]
    if isinstance(value, (bool, str)) or not value > 0:
        raise DataError(f"input option {key} must be a positive number, it is {value!r}")
    return float(value)
