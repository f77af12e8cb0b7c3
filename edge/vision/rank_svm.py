"""The pairwise ranking SVM of Eq. (4), solved on the Gram matrix alone.

Problem (Fan et al. 2018, Eq. (4)): minimise ||F||^2 + C sum_{i<j} xi_ij subject to
F . (V_j - V_i) >= 1 - xi_ij and xi >= 0, over the time-varying means V_1 .. V_n.

Its dual has one variable per pair, m_ij in [0, C/2]: maximise 2 sum m - ||sum m_ij (V_j - V_i)||^2,
with F = sum_k beta_k V_k and beta = sum_{i<j} m_ij (e_j - e_i). Only K_ij = V_i . V_j is needed, so
the cost does not depend on the picture. The solver is a primal-dual interior-point method with
Mehrotra's predictor and corrector: the same dozen of n x n systems whatever the data, unlike
coordinate descent, whose number of sweeps grows with C.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

MAX_ITERATIONS = 60
STEP_FRACTION = 0.995


@dataclass(frozen=True)
class RankSvmSolution:
    """Coefficients of F on the means, and how exact they are.

    Attributes:
        beta: float64, n; F = sum_k beta_k V_k; sums to 0.
        relative_gap: (primal - dual) / max(1, primal); 0 is exact.
        iterations: Interior-point steps used.
    """

    beta: Vector
    relative_gap: float
    iterations: int


@functools.lru_cache(maxsize=64)
def _pair_differences(n: int) -> Matrix:
    """Rows e_j - e_i for all i < j; float64, n (n - 1) / 2 x n."""
    earlier, later = np.triu_indices(n, k=1)
    differences = np.zeros((len(earlier), n))
    rows = np.arange(len(earlier))
    differences[rows, later] = 1.0
    differences[rows, earlier] = -1.0
    differences.flags.writeable = False
    return differences


def solve_rank_svm(kernel: Matrix, c: float, *, tolerance: float = 1e-7) -> RankSvmSolution:
    """Solve Eq. (4) to a relative duality gap of `tolerance`.

    Args:
        kernel: K_ij = V_i . V_j, float64, n x n, n >= 2, symmetric positive semi-definite.
        c: Soft-margin parameter C > 0.
        tolerance: Relative duality gap to stop at.

    Returns:
        The solution; `relative_gap` says how exact it is.
    """
    n = kernel.shape[0]
    pairs = _pair_differences(n)
    upper = c / 2.0
    # Q = B B^T with B = pairs L, L L^T = K: the big system needs only n x n inverses (Woodbury).
    values, vectors = np.linalg.eigh(kernel)
    factor = pairs @ (vectors * np.sqrt(np.clip(values, 0.0, None)))

    m = np.full(len(pairs), upper / 2.0)
    z_low = np.ones(len(pairs))
    z_high = np.ones(len(pairs))
    gap = np.inf
    iteration = 0
    while iteration < MAX_ITERATIONS:
        gap, beta = _relative_gap(m, pairs, kernel, c)
        if gap <= tolerance:
            break
        m, z_low, z_high = _newton_step(m, z_low, z_high, factor, upper)
        iteration += 1
    gap, beta = _relative_gap(m, pairs, kernel, c)
    return RankSvmSolution(beta=beta, relative_gap=gap, iterations=iteration)


def _relative_gap(m: Vector, pairs: Matrix, kernel: Matrix, c: float) -> tuple[float, Vector]:
    """Duality gap of the feasible point `m`, relative to the primal value, and its beta."""
    beta = m @ pairs
    scores = kernel @ beta
    norm = float(beta @ scores)
    hinge = float(np.maximum(0.0, 1.0 - pairs @ scores).sum())
    primal = norm + c * hinge
    dual = 2.0 * float(m.sum()) - norm
    return (primal - dual) / max(1.0, abs(primal)), beta


def _newton_step(
    m: Vector, z_low: Vector, z_high: Vector, factor: Matrix, upper: float
) -> tuple[Vector, Vector, Vector]:
    """One predictor-corrector step for min m'Qm - 2 sum m, 0 <= m <= upper, Q = B B'."""
    slack = upper - m
    residual = 2.0 * (factor @ (m @ factor)) - 2.0 - z_low + z_high
    diagonal = z_low / m + z_high / slack
    scaled = factor / diagonal[:, None]
    inner = 0.5 * np.eye(factor.shape[1]) + factor.T @ scaled

    def direction(low: Vector, high: Vector) -> tuple[Vector, Vector, Vector]:
        """Solve for complementarity targets m z_low -> low, slack z_high -> high (residuals)."""
        right = -residual + low / m - high / slack
        dm = right / diagonal
        dm -= scaled @ np.linalg.solve(inner, factor.T @ dm)
        return dm, (low - z_low * dm) / m, (high + z_high * dm) / slack

    mu = (m @ z_low + slack @ z_high) / (2 * len(m))
    dm, dl, dh = direction(-m * z_low, -slack * z_high)
    primal, dual = _step_lengths(m, slack, z_low, z_high, (dm, dl, dh))
    affine = (
        (m + primal * dm) @ (z_low + dual * dl) + (slack - primal * dm) @ (z_high + dual * dh)
    ) / (2 * len(m))
    target = mu * (affine / mu) ** 3
    dm, dl, dh = direction(
        target - m * z_low - dm * dl,
        target - slack * z_high + dm * dh,
    )
    primal, dual = _step_lengths(m, slack, z_low, z_high, (dm, dl, dh))
    step = STEP_FRACTION * min(primal, dual)
    return m + step * dm, z_low + step * dl, z_high + step * dh


def _step_lengths(
    m: Vector,
    slack: Vector,
    z_low: Vector,
    z_high: Vector,
    direction: tuple[Vector, Vector, Vector],
) -> tuple[float, float]:
    """Longest steps in [0, 1] that keep m, slack and both multipliers positive."""
    dm, dl, dh = direction
    primal = min(_to_boundary(m, dm), _to_boundary(slack, -dm))
    dual = min(_to_boundary(z_low, dl), _to_boundary(z_high, dh))
    return primal, dual


def _to_boundary(value: Vector, change: Vector) -> float:
    falling = change < 0.0
    if not falling.any():
        return 1.0
    return min(1.0, float((-value[falling] / change[falling]).min()))
