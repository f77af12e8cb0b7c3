"""Kernel times by CUDA events, measured while the pipeline runs as it does in earnest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.cuda.device import Argument, Buffer, MeasuredDevice


@dataclass(frozen=True)
class KernelTime:
    """One kernel: launches, median and sum of their times in milliseconds."""

    launches: int
    median_ms: float
    total_ms: float


class TimedDevice:
    """A device with a mark before and after each launch while `timing` is on.

    Marks cost some microseconds each, so the whole is slower than without them, and kernels of a
    few microseconds look longer than they are.
    """

    def __init__(self, device: MeasuredDevice) -> None:
        self._device = device
        self._marks: list[tuple[str, Any, Any]] = []
        self.name = device.name
        self.stream = device.stream
        self.timing = False

    def empty(self, shape: Sequence[int], dtype: Any) -> Buffer:
        """Memory with undefined contents."""
        return self._device.empty(shape, dtype)

    def upload(self, array: NDArray[Any], into: Buffer | None = None) -> Buffer:
        """Copy an array to the device."""
        return self._device.upload(array, into=into)

    def download(self, buffer: Buffer) -> NDArray[Any]:
        """Wait for all earlier work and copy a buffer back."""
        return self._device.download(buffer)

    def launch(self, name: str, grid: int, block: int, *arguments: Argument) -> None:
        """Start a kernel, between two marks."""
        if not self.timing:
            self._device.launch(name, grid, block, *arguments)
            return
        first = self._device.mark()
        self._device.launch(name, grid, block, *arguments)
        self._marks.append((name, first, self._device.mark()))

    def close(self) -> None:
        """The device belongs to whoever opened it."""

    def times(self) -> dict[str, KernelTime]:
        """By kernel, the dearest in sum first; and forget them."""
        found: dict[str, list[float]] = defaultdict(list)
        for name, first, second in self._marks:
            found[name].append(self._device.elapsed_ms(first, second))
        self._marks.clear()
        times = {
            name: KernelTime(len(ms), float(np.median(ms)), float(sum(ms)))
            for name, ms in found.items()
        }
        return dict(sorted(times.items(), key=lambda item: -item[1].total_ms))
