"""One stream on the device: gather into the encoder's input, encode, energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.gpu.cut import DeviceCut
from edge.gpu.encoder import DeviceEncoder
from edge.inputs import Cells
from edge.vision.cuda.device import Buffer, Device
from edge.vision.cuda.energy import MixtureEnergy
from engines.backends.backend import Backend
from engines.errors import InternalError
from engines.model_spec import StreamSpec


@dataclass(frozen=True)
class DeviceRunner:
    """An `edge.runner.Runner` whose batches and latent vectors stay on the device.

    Attributes:
        spec: The stream.
        device: The GPU.
        backend: What `encoder` runs on; named in logs and reports, freed at the end.
        encoder: Its network.
        head: Its energy.
    """

    spec: StreamSpec
    device: Device
    backend: Backend
    encoder: DeviceEncoder
    head: MixtureEnergy

    @property
    def largest(self) -> int | None:
        """Most cells at once."""
        return self.encoder.largest

    def gather(self, cells: Sequence[Cells]) -> Buffer:
        """Cut the cells straight into the encoder's input.

        Raises:
            DataError: The network wants cells of another shape.
            InternalError: The cells are not on the device.
        """
        batch = self.encoder.input(sum(len(one) for one in cells))
        start = 0
        for one in cells:
            if not isinstance(one.cut, DeviceCut):
                raise InternalError(f"the cells of stream {self.spec.name} are not on the GPU")
            one.cut.into(one.rows, one.columns, batch.rows(start, start + len(one)))
            start += len(one)
        return batch

    def encode(self, batch: Buffer) -> Buffer:
        """float32 n x channels x side x side in, float32 n x J out."""
        return self.encoder.run(batch.shape[0])

    def energy(self, features: Buffer) -> NDArray[np.float64]:
        """float32 n x J on the device in, float64 n on the host out."""
        return np.asarray(self.device.download(self.head.energy_on_device(features)))

    def close(self) -> None:
        """Free the network."""
        self.backend.close()
