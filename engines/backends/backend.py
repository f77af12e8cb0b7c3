"""The backend Protocol, and what every backend on the host asks of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
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


def require_batch(
    batch: NDArray[np.float32], expected: Sequence[int | str | None], *, where: str
) -> None:
    """See that a batch has the network's shape but for its first axis.

    Args:
        batch: float32, N x ...
        expected: The network's input shape; what is no number may have any size.
        where: The network's file, for the message.

    Raises:
        DataError: It has another shape.
    """
    pairs = zip(expected[1:], batch.shape[1:], strict=False)
    fits = all(not isinstance(want, int) or want == have for want, have in pairs)
    if len(expected) != batch.ndim or not fits:
        raise DataError(
            f"the network wants N x {list(expected[1:])}, the batch is {list(batch.shape)}",
            where=where,
        )
