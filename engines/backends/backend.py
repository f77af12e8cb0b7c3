"""The backend Protocol and the choice of one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.model_spec import Precision


class Backend(Protocol):
    """Runs one network file.

    `name` and `precision` are shown in logs, events and reports.
    """

    name: str
    precision: Precision

    def load(self, file: Path) -> None:
        """Read the network.

        Raises:
            DataError: The file is not a network that this backend can run.
        """

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network: float32 N x C x H x W in, float32 N x J out; N may be 0.

        Raises:
            DataError: The batch does not have the network's input shape.
        """

    def close(self) -> None:
        """Free the network; calling it twice is harmless."""
