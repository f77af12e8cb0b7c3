"""Mixtures with diagonal or full covariances on features, by expectation maximisation.

The forms of Fan et al. 2018, Eq. (17), and of the full covariance that small mixtures over features
of a backbone are often given; scikit-learn fits them. For comparison with the many spherical
components of `trainer.spherical_mixture`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from edge.scoring.energy import MixtureEnergy
from engines.errors import DataError
from trainer.feature_points import Points, checked_points

_ITERATIONS = 40
# Added to each variance, as a part of the pooled one: features have directions without any spread.
_FLOOR = 1e-2


@dataclass(frozen=True)
class FittedGaussians:
    """A mixture as the arrays of a head file of kind ``mixture``."""

    _arrays: dict[str, NDArray[np.generic]]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """``weights``, ``means``, and ``variances`` or ``precision_cholesky``; float32."""
        return self._arrays

    def energy(self, points: Points) -> NDArray[np.float64]:
        """Energies in nats as a device computes them, (N, J) -> float64 (N,)."""
        return MixtureEnergy.from_arrays(self._arrays).energy(points)

    def log_likelihood(self, points: Points) -> float:
        """Mean log-density of points, in nats a point."""
        return float(-self.energy(points).mean())


def fit_gaussians(
    points: Points,
    *,
    components: int,
    covariance: Literal["diag", "full"],
    seed: int,
    floor: float = _FLOOR,
) -> FittedGaussians:
    """Fit at most so many components.

    A full covariance needs more points than dimensions: the number of components is lowered to
    N / (2 J), at least 1.

    Args:
        points: float32 (N, J), N >= 2, finite.
        components: K >= 1.
        covariance: Form of each component's covariance.
        seed: Decides the start.
        floor: Added to each variance, as a part of the mean variance of a coordinate.

    Raises:
        DataError: Points of another shape, not finite or fewer than two; components below 1.
    """
    points = checked_points([points])[0]
    if components < 1 or len(points) < 2:
        raise DataError(f"{components} components cannot be fitted on {len(points)} points")
    most = len(points) // (2 * points.shape[1]) if covariance == "full" else len(points) // 2
    pooled = float(points.var(0, dtype=np.float64).mean())
    mixture = GaussianMixture(
        min(components, max(1, most)),
        covariance_type=covariance,
        reg_covar=max(floor * pooled, 1e-12),
        init_params="k-means++",
        max_iter=_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The last steps hardly move anything; held-out likelihood judges the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(points.astype(np.float64))
    arrays: dict[str, NDArray[np.generic]] = {
        "weights": mixture.weights_.astype(np.float32),
        "means": mixture.means_.astype(np.float32),
    }
    if covariance == "full":
        arrays["precision_cholesky"] = mixture.precisions_cholesky_.astype(np.float32)
    else:
        arrays["variances"] = mixture.covariances_.astype(np.float32)
    return FittedGaussians(arrays)
