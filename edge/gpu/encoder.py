"""The encoder of a stream where its input is on the device already."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edge.vision.cuda.device import Buffer, Device
from engines.backends.backend import Backend
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.backends.tensorrt.runner import TensorRtBackend

Shape = tuple[int, ...]


class DeviceEncoder(Protocol):
    """A network with its input and output in device memory."""

    @property
    def largest(self) -> int:
        """Most rows at once."""

    def input(self, count: int) -> Buffer:
        """Where `count` rows are written: float32, count x channels x side x side."""

    def run(self, count: int) -> Buffer:
        """Encode the first `count` rows of the input; float32, count x J."""


class EngineEncoder:
    """A TensorRT engine that runs on the device's own stream, after the kernels before it."""

    def __init__(self, engine: TensorRtEngine) -> None:
        self._engine = engine

    @property
    def largest(self) -> int:
        """Most rows at once."""
        return self._engine.largest

    def input(self, count: int) -> Buffer:
        """The engine's own input memory."""
        shape = (count, *self._engine.row_shape)
        return Buffer(self._engine.input_address, shape, np.dtype(np.float32), self._engine)

    def run(self, count: int) -> Buffer:
        """Put the engine's work on the stream; waits for nothing."""
        self._engine.enqueue(count)
        shape = (count, *self._engine.output_shape)
        return Buffer(self._engine.output_address, shape, np.dtype(np.float32), self._engine)


class StandInEncoder:
    """Any backend in the place of an engine, through the host's memory: for reports and tests.

    Args:
        device: The GPU.
        backend: With its network loaded.
        row_shape: channels x side x side.
        largest: Most rows at once.
    """

    def __init__(
        self, device: Device, backend: Backend, *, row_shape: Shape, largest: int = 512
    ) -> None:
        self.largest = largest
        self._device = device
        self._backend = backend
        self._input = device.empty((largest, *row_shape), np.float32)

    def input(self, count: int) -> Buffer:
        """Memory of its own."""
        return self._input.rows(0, count)

    def run(self, count: int) -> Buffer:
        """Fetch the rows, encode them on the host, and bring the latents back."""
        batch = self._device.download(self.input(count))
        return self._device.upload(self._backend.infer(batch.astype(np.float32, copy=False)))


def engine_encoder(backend: Backend | None) -> EngineEncoder | None:
    """The encoder of a backend that works on device memory; None for others."""
    if isinstance(backend, TensorRtBackend) and backend.engine is not None:
        return EngineEncoder(backend.engine)
    return None
