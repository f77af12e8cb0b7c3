"""The parity gate: a backend must give the numbers that the trainer wrote beside the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.backends.backend import Backend
from engines.errors import DataError


@dataclass(frozen=True)
class ParityReport:
    """How far a backend's outputs lie from the expected ones.

    Attributes:
        backend: Its name.
        precision: Of the network file that it runs.
        patches: Rows compared.
        cosine: Lowest cosine between an output row and its expected row; two zero rows count 1, a
            zero row against another 0.
        max_abs: Largest absolute difference of any value.
    """

    backend: str
    precision: str
    patches: int
    cosine: float
    max_abs: float


def check_parity(
    backend: Backend,
    patches: NDArray[np.float32],
    expected: NDArray[np.float32],
    *,
    cosine_min: float,
    max_abs: float,
) -> ParityReport:
    """Run the parity patches and compare.

    Args:
        backend: With its network loaded.
        patches: float32, N x channels x side x side, N >= 1.
        expected: float32, N x J.
        cosine_min: Lowest cosine that passes (0.999 for FP16, 0.99 for INT8).
        max_abs: Largest absolute difference that passes.

    Raises:
        DataError: No patches, another shape, outputs that are not finite, or a limit is broken.
    """
    where = f"{backend.name}, {backend.precision}"
    if not len(patches) or len(patches) != len(expected) or not np.isfinite(expected).all():
        raise DataError(
            f"parity needs equal numbers of patches and finite outputs, found {len(patches)} and "
            f"{len(expected)}",
            where=where,
            mend="export the bundle again",
        )
    found = backend.infer(patches)
    if found.shape != expected.shape:
        raise DataError(
            f"the network gives {found.shape}, expected {expected.shape}",
            where=where,
            mend="network and parity file must come from the same bundle",
        )
    if not np.isfinite(found).all():
        raise DataError("the network gives values that are not finite", where=where)
    found64, expected64 = found.astype(np.float64), expected.astype(np.float64)
    report = ParityReport(
        backend=backend.name,
        precision=backend.precision,
        patches=len(patches),
        cosine=float(_cosines(found64, expected64).min()),
        max_abs=float(np.abs(found64 - expected64).max(initial=0.0)),
    )
    if report.cosine < cosine_min or report.max_abs > max_abs:
        raise DataError(
            f"outputs differ from the expected ones: lowest cosine {report.cosine:.6f} (at least "
            f"{cosine_min:g}), largest difference {report.max_abs:.3g} (at most {max_abs:g})",
            where=where,
            mend="use another backend or precision, or export the bundle again",
        )
    return report


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    size_a, size_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    both_zero = (size_a == 0.0) & (size_b == 0.0)
    product = size_a * size_b
    cosine = np.divide((a * b).sum(axis=1), product, out=np.zeros(len(a)), where=product > 0.0)
    return np.where(both_zero, 1.0, cosine)
