"""What the twins need of a GPU: memory, copies and kernel launches, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

THREADS = 256
"""Threads of a block where every thread does one element."""


@dataclass(frozen=True)
class Buffer:
    """Memory of a device, row-major. `owner` keeps it alive.

    Attributes:
        address: Of the first element.
        shape: As of a NumPy array.
        dtype: Of one element.
        owner: What the device allocated.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: Any

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.dtype.itemsize

    def part(self, index: int) -> Buffer:
        """The view `self[index]`, without a copy."""
        inner = self.shape[1:]
        step = int(np.prod(inner, dtype=np.int64)) * self.dtype.itemsize
        return Buffer(self.address + index * step, inner, self.dtype, self.owner)

    def rows(self, start: int, stop: int) -> Buffer:
        """The view `self[start:stop]`, without a copy; 0 <= start <= stop <= rows."""
        inner = self.shape[1:]
        step = int(np.prod(inner, dtype=np.int64)) * self.dtype.itemsize
        shape = (stop - start, *inner)
        return Buffer(self.address + start * step, shape, self.dtype, self.owner)


Argument = Buffer | int | float
"""Of a kernel; checked against the kernel's own parameter list."""


class Device(Protocol):
    """One GPU and one stream on it: everything happens in the order of the calls.

    `name` is shown in logs and reports; `stream` is the stream's handle, for libraries that take
    one.
    """

    name: str
    stream: int

    def empty(self, shape: Sequence[int], dtype: Any) -> Buffer:
        """Memory with undefined contents.

        Raises:
            UnavailableError: The device has not that much left.
        """

    def upload(self, array: NDArray[Any], into: Buffer | None = None) -> Buffer:
        """Copy an array to the device, into new memory unless `into` is given."""

    def download(self, buffer: Buffer) -> NDArray[Any]:
        """Wait for all earlier work and copy a buffer back; a new array."""

    def launch(self, name: str, grid: int, block: int, *arguments: Argument) -> None:
        """Start a kernel by name with `grid` blocks of `block` threads.

        Raises:
            InternalError: Arguments that are not those of the kernel, or a failed launch.
        """

    def close(self) -> None:
        """Free everything; calling it twice is harmless."""


@dataclass(frozen=True)
class DeviceFacts:
    """Which GPU and software this is; memory in MiB."""

    name: str
    compute_capability: str
    driver_cuda: str
    nvrtc: str
    memory_mib: int
    free_mib: int


class MeasuredDevice(Device, Protocol):
    """A device that can be timed."""

    def mark(self) -> Any:
        """A point in the stream's work."""

    def elapsed_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two points; waits for the second one."""

    def facts(self) -> DeviceFacts:
        """Which GPU this is, and its memory now."""


def blocks(elements: int) -> int:
    """Blocks of `THREADS` threads that cover so many elements, at least one."""
    return max(1, -(-elements // THREADS))
