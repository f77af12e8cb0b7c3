"""The array work of the input kinds on the device: twins of the `Host...` classes of `edge.inputs`.

What an input decides (options, gates, when a look is due) stands once, in `edge.inputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge.gpu.cut import DeviceCut
from edge.gpu.observer import on_device
from edge.inputs import StreamInput
from edge.inputs.cells import Cut
from edge.inputs.patches import AppearanceInput, MotionInput, MotionPlan
from edge.inputs.speed import SpeedInput
from edge.inputs.windows import WindowInput, WindowPlan
from edge.vision.cuda.cells import GridCells, WindowCells
from edge.vision.cuda.device import Buffer, Device
from edge.vision.cuda.flow_window import FlowWindow
from edge.vision.cuda.steady_flow import SteadyFlow, largest_nearby
from edge.vision.dynamic_flow import MINIMUM_FLOWS, field_weights
from edge.vision.observe import Observed
from edge.vision.patches import Grid
from engines.model_spec import FrameSpec, GateSpec, InputSpec


class DevicePictures:
    """`edge.inputs.patches.PictureWork` on the device."""

    def __init__(self, device: Device, grid: Grid) -> None:
        self._device = device
        self._cells = GridCells(device, grid)

    def count(self, observation: Observed) -> NDArray[np.int64]:
        """Moved pixels of each cell; int64, rows x columns."""
        moved = on_device(observation).moved_pixels
        if moved is None:
            return np.zeros(self._cells.shape, np.int64)
        return self._cells.count(moved)

    def cut(self, observation: Observed) -> Cut:
        """Cuts cells out of this picture, RGB in [0, 1]."""
        picture = on_device(observation).picture
        return DeviceCut(self._device, partial(self._cells.gather_picture, picture))


class DeviceMotion:
    """`edge.inputs.patches.MotionWork` on the device; the ranking is solved on the host."""

    def __init__(self, device: Device, plan: MotionPlan) -> None:
        self._device = device
        self._plan = plan
        self._cells = GridCells(device, plan.grid)
        self._window = FlowWindow(
            device, length=plan.length, height=plan.grid.height, width=plan.grid.width
        )
        self._field: Buffer | None = None

    @property
    def full(self) -> bool:
        """The window holds as many flows as it can."""
        return self._window.full

    @property
    def field(self) -> NDArray[np.float32] | None:
        """Unscaled field (u, v, magnitude) of the last `cut`, fetched from the device."""
        if self._field is None:
            return None
        return np.asarray(self._device.download(self._field), np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._window.reset()
        self._field = None

    def count(self, observation: Observed) -> NDArray[np.int64]:
        """Moved pixels of each cell; int64, rows x columns."""
        moved = on_device(observation).moved_pixels
        if moved is None:
            return np.zeros(self._cells.shape, np.int64)
        return self._cells.count(moved)

    def push(self, observation: Observed) -> None:
        """Take a flow."""
        motion = on_device(observation).motion
        assert motion is not None
        self._window.push_on_device(motion)

    def cut(self) -> Cut | None:
        """Makes the motion image and cuts cells out of it, in [0, 1]; None: too few flows."""
        plan = self._plan
        if len(self._window) < MINIMUM_FLOWS:
            return None
        weights = field_weights(
            plan.representation, self._window.gram, c=plan.c, values=plan.values
        )
        self._field = self._window.motion_field(*weights)
        gather = partial(self._cells.gather_motion, self._field, scale=plan.scale)
        return DeviceCut(self._device, gather)

    def skip(self) -> None:
        """There is no cell to be cut out of this frame."""
        self._field = None


class DeviceWindows:
    """`edge.inputs.windows.WindowWork` on the device."""

    def __init__(self, device: Device, plan: WindowPlan) -> None:
        self._device = device
        self._grey = plan.grey
        self._windows = WindowCells(device, plan.grid)
        self._flow = SteadyFlow(
            device,
            height=plan.grid.height,
            width=plan.grid.width,
            time_constant_s=plan.time_constant_s,
            floor=plan.floor,
        )

    def reset(self) -> None:
        """Forget the past."""
        self._flow.reset()

    def advance(self, observation: Observed) -> None:
        """Take a flow."""
        motion = on_device(observation).coarse_motion
        assert motion is not None
        self._flow.update(motion, observation.dt_s)

    def share_moving(self) -> NDArray[np.float32]:
        """Share of each grid cell in which something travels; float32, rows x columns."""
        return self._flow.share_moving(self._windows.shape)

    def cut(self, observation: Observed) -> Cut:
        """Cuts windows out of this picture, RGB (or grey) in [0, 1]."""
        here = on_device(observation)
        picture = here.grey if self._grey else here.picture
        return DeviceCut(self._device, partial(self._windows.gather, picture))


class DeviceSpeed:
    """`edge.inputs.speed.SpeedWork` on the device."""

    def __init__(self, device: Device, frame: FrameSpec, time_constant_s: float) -> None:
        self._device = device
        self._flow = SteadyFlow(
            device,
            height=frame.height,
            width=frame.width,
            time_constant_s=time_constant_s,
            floor=0.0,
        )

    def reset(self) -> None:
        """Forget the past."""
        self._flow.reset()

    def speed(self, observation: Observed) -> NDArray[np.float32]:
        """Take a flow; returns the steady speed on the 8 px grid, px per second."""
        motion = on_device(observation).coarse_motion
        assert motion is not None
        self._flow.update(motion, observation.dt_s)
        speed = self._device.download(largest_nearby(self._device, self._flow.speed))
        return np.asarray(speed, np.float32)


DeviceKind = Callable[[Device, InputSpec, FrameSpec, GateSpec], StreamInput]

DEVICE_KINDS: dict[str, DeviceKind] = {
    "appearance": lambda device, spec, frame, gate: AppearanceInput(
        spec, frame, gate, work=partial(DevicePictures, device)
    ),
    "motion": lambda device, spec, frame, gate: MotionInput(
        spec, frame, gate, work=partial(DeviceMotion, device)
    ),
    "speed": lambda device, spec, frame, gate: SpeedInput(
        spec, frame, gate, work=partial(DeviceSpeed, device)
    ),
    "window": lambda device, spec, frame, gate: WindowInput(
        spec, frame, gate, work=partial(DeviceWindows, device)
    ),
}
"""Input kinds that have a twin. Others run on the CPU, on arrays fetched from the device."""

DEVICE_CUTS = frozenset({"appearance", "motion", "window"})
"""Those of them whose cells are cut on the device, so that a network there can read them."""
