"""Motion over time on the 4 px grid on a GPU: twins of `carry`, `steady_flow` and `speed`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.carry import MeanClock
from edge.vision.cuda.device import THREADS, Buffer, Device, blocks
from edge.vision.cuda.tables import Shrinking
from edge.vision.observe import COARSE_PX
from edge.vision.speed import REACH, READ_STEP


class Carried:
    """Motion-compensated exponential mean of one grid.

    Args:
        device: The GPU.
        shape: (rows, columns) of the grid.
        time_constant_s: Seconds; 0 keeps the newest values only.
        channels: Of the values.
    """

    def __init__(
        self, device: Device, shape: tuple[int, int], time_constant_s: float, *, channels: int = 1
    ) -> None:
        self._device = device
        self._shape = shape
        self._channels = channels
        self._clock = MeanClock(time_constant_s)
        size = shape if channels == 1 else (*shape, channels)
        self._now, self._next = (device.empty(size, np.float32) for _ in range(2))
        self.value: Buffer | None = None
        """float32, rows x columns (x channels); None before the first values."""

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self.value = None
        self._clock.reset()

    def update(self, values: Buffer | None, flow: Buffer | None, dt_s: float) -> Buffer | None:
        """Take the newest frame.

        Args:
            values: float32, rows x columns (x channels); None if nothing was looked at.
            flow: float32, rows x columns x 2, cells per frame; None if unknown (first frame).
            dt_s: Seconds since the frame before.

        Returns:
            The mean, also in `value`; overwritten by the call after the next one. None while there
            were no values yet.
        """
        if self.value is None and values is None:
            return None
        if self.value is None:
            assert values is not None
            # A mean of the values themselves: nothing is warped, and all of them is taken.
            return self._run(values, None, values, self._clock.look())
        self._clock.wait(dt_s)
        if values is None:
            return self._run(self.value, flow, None, 0.0)
        return self._run(self.value, flow, values, self._clock.look())

    def _run(
        self, mean: Buffer, flow: Buffer | None, values: Buffer | None, share: float
    ) -> Buffer:
        rows, columns = self._shape
        self._device.launch(
            "carry", blocks(rows * columns), THREADS,
            mean, flow or mean, values or mean, self._next,
            rows, columns, self._channels, int(flow is not None), share,
        )  # fmt: skip
        self.value = self._next
        self._now, self._next = self._next, self._now
        return self.value


class SteadyFlow:
    """Steady motion of one camera: the mean velocity along the motion itself, and its length.

    Args:
        device: The GPU.
        height: Working height in pixels.
        width: Working width in pixels.
        time_constant_s: Time constant of the exponential mean, in seconds.
        floor: Speed in px per second above which a cell is moving.
    """

    def __init__(
        self,
        device: Device,
        *,
        height: int,
        width: int,
        time_constant_s: float,
        floor: float,
    ) -> None:
        shape = (height // COARSE_PX, width // COARSE_PX)
        self._device = device
        self._shape = shape
        self._floor = floor
        self._count = shape[0] * shape[1]
        self._sharing: dict[tuple[int, int], Shrinking] = {}
        self._carried = Carried(device, shape, time_constant_s, channels=2)
        self._velocity = device.empty((*shape, 2), np.float32)
        self._cells = device.empty((*shape, 2), np.float32)
        self.speed = device.upload(np.zeros(shape, np.float32))
        """float32, rows x columns, length of the mean velocity, px per second."""
        self.moving = device.upload(np.zeros(shape, np.float32))
        """float32, rows x columns: 1 where the speed is above the floor, else 0."""

    @property
    def velocity(self) -> Buffer | None:
        """float32, rows x columns x 2, px per second; None before the first flow."""
        return self._carried.value

    def reset(self) -> None:
        """Forget the past (cut, reconnect, new clip)."""
        self._carried.reset()
        for buffer in (self.speed, self.moving):
            self._device.upload(np.zeros(self._shape, np.float32), into=buffer)

    def update(self, coarse_flow: Buffer, dt_s: float) -> None:
        """Take the newest flow.

        Args:
            coarse_flow: float32, rows x columns x 2, px per frame.
            dt_s: Seconds between its two frames, positive.
        """
        self._device.launch(
            "velocity", blocks(2 * self._count), THREADS,
            coarse_flow, self._velocity, self._cells, 2 * self._count, dt_s, float(COARSE_PX),
        )  # fmt: skip
        mean = self._carried.update(self._velocity, self._cells, dt_s)
        assert mean is not None
        self._device.launch(
            "speed", blocks(self._count), THREADS,
            mean, self.speed, self.moving, self._count, self._floor,
        )  # fmt: skip

    def share_moving(self, cells: tuple[int, int]) -> NDArray[np.float32]:
        """Share of each cell of a coarser grid that is moving; float32, rows x columns."""
        result = self._device.empty(cells, np.float32)
        if cells not in self._sharing:
            self._sharing[cells] = Shrinking(self._device, self._shape, cells)
        self._sharing[cells].run(self.moving, result)
        return np.asarray(self._device.download(result), dtype=np.float32)


def largest_nearby(device: Device, speed: Buffer) -> Buffer:
    """The largest speed within 10 px of each cell.

    Args:
        device: The GPU.
        speed: float32, rows x columns on the 4 px grid.

    Returns:
        float32, every second row and column of it, same unit.
    """
    rows, columns = speed.shape
    result = device.empty((-(-rows // READ_STEP), -(-columns // READ_STEP)), np.float32)
    device.launch(
        "largest_nearby", blocks(result.size), THREADS,
        speed, result, rows, columns, REACH, READ_STEP,
    )  # fmt: skip
    return result
