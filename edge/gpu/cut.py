"""Cells that are cut out of a frame on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.vision.cuda.device import Buffer, Device


class Gather(Protocol):
    """Cuts cells out of something that is on the device."""

    def __call__(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], into: Buffer | None
    ) -> Buffer:
        """float32, n x channels x side x side; in `into`, or in new memory."""


@dataclass(frozen=True)
class DeviceCut:
    """An `edge.inputs.cells.Cut` whose cells need not leave the device.

    Attributes:
        device: The GPU.
        gather: Does it.
    """

    device: Device
    gather: Gather

    def __call__(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The cells on the host: float32, n x channels x side x side."""
        batch = self.device.download(self.gather(rows, columns, None))
        return np.asarray(batch, dtype=np.float32)

    def into(self, rows: NDArray[np.int64], columns: NDArray[np.int64], buffer: Buffer) -> None:
        """The cells in a buffer on the device, float32 n x channels x side x side.

        Raises:
            DataError: The buffer has another shape.
        """
        self.gather(rows, columns, buffer)
