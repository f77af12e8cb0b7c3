"""The parity gate: a backend must give the numbers that the trainer wrote beside the network.

It stands before every activation: a network in another precision, or on another backend, runs only
where its latent vectors point the same way and its energies keep their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.backends.backend import Backend
from engines.errors import DataError
from engines.model_spec import Precision

Energy = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Latent vectors float32 N x J to energies float64 N: the head of the stream."""

# Below so many patches one swap of two neighbours already moves the rank correlation by more than
# the limits allow; it is reported then, and not judged.
RANK_PATCHES: Final = 50
RANK_STEP: Final = 1e-3
"""Energies closer than this, in standard deviations of the expected ones, count as equal."""


@dataclass(frozen=True)
class ParityLimits:
    """What passes: lowest cosine of a latent vector, lowest rank correlation of the energies."""

    cosine: float
    rank: float


LIMITS: Final[dict[Precision, ParityLimits]] = {
    "fp32": ParityLimits(cosine=0.9999, rank=0.9999),
    "fp16": ParityLimits(cosine=0.999, rank=0.999),
    "int8": ParityLimits(cosine=0.99, rank=0.99),
}


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
        relative: Norm of all differences, as a part of the norm of the expected values.
        rank: Spearman's rank correlation of the energies, those within `RANK_STEP` counted as
            equal; None without a head.
        rank_of_many: What it would be over very many such patches, see `rank_of_many`; None
            without a head, or where most energies are equal.
        energy_shift: Largest change of an energy, in standard deviations of the expected energies;
            None without a head.
    """

    backend: str
    precision: str
    patches: int
    cosine: float
    max_abs: float
    relative: float
    rank: float | None = None
    rank_of_many: float | None = None
    energy_shift: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for logs and reports."""
        line = (
            f"{self.backend}, {self.precision}: {self.patches} patches, lowest cosine "
            f"{self.cosine:.5f}, relative error {self.relative:.4f}"
        )
        if self.rank is None or self.energy_shift is None:
            return line
        return (
            f"{line}, energies: rank correlation {self.rank:.5f}, "
            f"largest change {self.energy_shift:.3f} standard deviations"
        )


def check_parity(
    backend: Backend,
    patches: NDArray[np.float32],
    expected: NDArray[np.float32],
    *,
    cosine_min: float,
    max_abs: float,
    energy: Energy | None = None,
    rank_min: float = -1.0,
    together: bool = False,
) -> ParityReport:
    """Run the parity patches and compare.

    Args:
        backend: With its network loaded.
        patches: float32, N x channels x side x side, N >= 1.
        expected: float32, N x J.
        cosine_min: Lowest cosine that passes (0.999 for FP16, 0.99 for INT8).
        max_abs: Largest absolute difference that passes.
        energy: The stream's head; None compares latent vectors alone.
        rank_min: Lowest rank correlation of energies that passes, with `RANK_PATCHES` or more;
            either that of these patches or `rank_of_many` has to reach it.
        together: Take all rows as one vector: for answers whose rows may lie at zero, where a
            direction says nothing.

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
    report = compare(
        found,
        expected,
        energy,
        backend=backend.name,
        precision=backend.precision,
        together=together,
    )
    if report.cosine < cosine_min or report.max_abs > max_abs:
        raise DataError(
            f"outputs differ from the expected ones: lowest cosine {report.cosine:.6f} (at least "
            f"{cosine_min:g}), largest difference {report.max_abs:.3g} (at most {max_abs:g})",
            where=where,
            mend="use another backend or precision, or export the bundle again",
        )
    ranks = [rank for rank in (report.rank, report.rank_of_many) if rank is not None]
    if ranks and report.patches >= RANK_PATCHES and max(ranks) < rank_min:
        raise DataError(
            f"energies change their order: rank correlation {max(ranks):.5f} with the expected "
            f"ones (at least {rank_min:g})",
            where=where,
            mend="use another backend or precision, or quantise fewer layers",
        )
    return report


def compare(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    energy: Energy | None = None,
    *,
    backend: str,
    precision: str,
    together: bool = False,
) -> ParityReport:
    """Compare latent vectors, and the energies that a head makes of them; judges nothing.

    Args:
        found: float32, N x J, finite, N >= 1.
        expected: The same shape.
        energy: The stream's head; None compares latent vectors alone.
        backend: For the report.
        precision: For the report.
        together: See `check_parity`.
    """
    found64, expected64 = found.astype(np.float64), expected.astype(np.float64)
    difference = found64 - expected64
    rank = many = shift = None
    if energy is not None:
        now, then = energy(found), energy(expected)
        spread = max(float(then.std()), 1e-30)
        # Patches of one still wall have one energy: which rounding error puts which of them first
        # is no change of order.
        step = RANK_STEP * spread
        rank = rank_correlation(np.rint(now / step), np.rint(then / step))
        many = rank_of_many(now, then)
        shift = float(np.abs(now - then).max()) / spread
    return ParityReport(
        backend=backend,
        precision=precision,
        patches=len(found),
        cosine=float(_cosines(*_rows(found64, expected64, together=together)).min()),
        max_abs=float(np.abs(difference).max(initial=0.0)),
        relative=float(np.linalg.norm(difference) / max(float(np.linalg.norm(expected64)), 1e-30)),
        rank=rank,
        rank_of_many=many,
        energy_shift=shift,
    )


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; equal values share their mean rank.

    Where one side is constant there is no order to compare: 1 if the other one is constant too,
    else 0.
    """
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    ranks_a -= ranks_a.mean()
    ranks_b -= ranks_b.mean()
    sizes = float(np.linalg.norm(ranks_a)), float(np.linalg.norm(ranks_b))
    if not all(sizes):
        return 0.0 if any(sizes) else 1.0
    return float((ranks_a * ranks_b).sum() / (sizes[0] * sizes[1]))


def rank_of_many(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation of very many energies, estimated from a few.

    Over a few dozen, the rank correlation itself is too low: at a true value of 0.9996 that of 64
    falls below 0.999 in half of the samples, as swaps of close neighbours weigh more. The linear
    correlation r hardly depends on the number, and for normally distributed energies Spearman's is
    (6 / pi) asin(r / 2) (Pearson 1907). A few energies far outside, which would make any r look
    good, count as if they lay at the fence of three standard deviations (from the MAD).

    Args:
        found: float64, N.
        expected: float64, N; gives middle and spread.

    Returns:
        -1 to 1; None if more than half of the expected energies are equal, or none varies.
    """
    middle = float(np.median(expected))
    fence = 3.0 * 1.4826 * float(np.median(np.abs(expected - middle)))
    if not fence:
        return None
    a, b = (np.clip(one, middle - fence, middle + fence) for one in (found, expected))
    a, b = a - a.mean(), b - b.mean()
    sizes = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if not sizes:
        return None
    r = min(max(float((a * b).sum()) / sizes, -1.0), 1.0)
    return 6.0 / math.pi * math.asin(r / 2.0)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return np.asarray((last - (counts - 1) / 2.0)[group.ravel()])


def _rows(
    *arrays: NDArray[np.float64], together: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = (one.reshape(1 if together else len(one), -1) for one in arrays)
    return a, b


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    size_a, size_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    both_zero = (size_a == 0.0) & (size_b == 0.0)
    product = size_a * size_b
    cosine = np.divide((a * b).sum(axis=1), product, out=np.zeros(len(a)), where=product > 0.0)
    return np.where(both_zero, 1.0, cosine)
