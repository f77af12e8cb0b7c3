"""A mixture of many spherical components that share one variance, fitted on normal windows.

p(z) = sum_c pi_c N(z; mu_c, sigma^2 I): the density behind Fan et al. 2018, Eq. (17) (reading A9),
with up to a thousand centres instead of 20 diagonal components. Fitted by Lloyd's iterations, the
hard-assignment form of EM: weights are the parts of the points, sigma^2 the mean squared distance
to the own centre / J. At hundreds of dimensions responsibilities are zeros and ones anyway, and
the soft step costs a second matrix product.

Every judgement here (likelihood, energies out of sample) goes through `edge.scoring.energy` and
the arrays that a bundle stores: what is judged is what is flashed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.scoring.energy import MixtureEnergy
from engines.errors import DataError
from trainer.feature_points import checked_points
from trainer.lloyd import assign, chunks, move, start

Points = NDArray[np.float32]
Vectors = NDArray[np.float64]

# Smallest variance as a part of the pooled one: points that coincide with centres have none.
_VARIANCE_FLOOR = 1e-6
# float16 means are stored if their rounding, mean square, is below this part of the variance.
_HALF_ROUNDING = 1e-4
_CHUNK = 2048


@dataclass(frozen=True)
class SphericalMixture:
    """weights float64 (K,), means float32 (K, J), variance per dimension; weights sum to 1."""

    weights: Vectors
    means: Points
    variance: float

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays of a head file of kind ``mixture``.

        ``weights`` float32 (K), ``variances`` float32 (1), ``means`` (K x J) float16 where that
        rounds far below the standard deviation (unit-length features: always), else float32.
        """
        means: NDArray[np.floating] = self.means
        if np.abs(means).max() < float(np.finfo(np.float16).max):
            half = means.astype(np.float16)
            rounding = float(np.square(half.astype(np.float64) - means).mean(1).max())
            means = half if rounding <= _HALF_ROUNDING * self.variance else means
        return {
            "weights": self.weights.astype(np.float32),
            "means": means,
            "variances": np.array([self.variance], np.float32),
        }

    def energy(self, points: Points) -> Vectors:
        """Energies (Eq. (17)) in nats as a device computes them, (N, J) -> float64 (N,).

        Raises:
            DataError: Points of another length than the means.
        """
        if points.ndim != 2 or points.shape[1] != self.means.shape[1]:
            raise DataError(f"points {points.shape} do not fit means {self.means.shape}")
        return MixtureEnergy.from_arrays(self.arrays()).energy(points)

    def log_likelihood(self, points: Points) -> float:
        """Mean log-density of points, float32 (N, J) with N >= 1, in nats a point; see `energy`."""
        return float(-self.energy(points).mean())


def fit_spherical(
    points: Points, *, components: int, iterations: int = 15, seed: int
) -> SphericalMixture:
    """Greedy k-means++ start on a subset, then Lloyd's iterations (see the module's docstring).

    Empty components are re-seeded at the points farthest from their centres; what is empty at the
    end is dropped. The result is the same for the same seed (and the same linear algebra library).

    Args:
        points: float32 (N, J), N >= 1, finite.
        components: K >= 1; lowered to the number of distinct points found.
        iterations: Most steps; ends earlier when no point changes its centre.
        seed: Decides the start.

    Raises:
        DataError: Points of another shape, not finite or none; components or iterations below 1.
    """
    if components < 1 or iterations < 1:
        raise DataError(f"components and iterations must be positive: {components}, {iterations}")
    points = checked_points([points])[0]
    # Squared distances come from products, which cancel: around the mean the terms are smallest.
    middle = points.mean(0, dtype=np.float64)
    points = (points - middle).astype(np.float32)
    squares: Points = np.einsum("nj,nj->n", points, points)
    means = start(points, squares, components, np.random.default_rng(seed))
    labels, distances = assign(points, squares, means)
    for _ in range(iterations):
        means = move(points, labels, distances, means)
        previous = labels
        labels, distances = assign(points, squares, means)
        if np.array_equal(labels, previous):
            break
    counts = np.bincount(labels, minlength=len(means))
    residual = sum(
        float(np.square(points[at] - means[labels[at]], dtype=np.float64).sum())
        for at in chunks(len(points), _CHUNK)
    )
    pooled = float(squares.mean(dtype=np.float64)) / points.shape[1]
    variance = max(residual / points.size, _VARIANCE_FLOOR * pooled, 1e-12)
    used = counts > 0
    return SphericalMixture(
        counts[used] / len(points), (means[used] + middle).astype(np.float32), variance
    )
