"""Sample energy under a Gaussian mixture (Fan et al. 2018, Eq. (17), reading A9).

E(z) = -log sum_c pi_c N(z; mu_c, Sigma_c) at z = mu~, always by log-sum-exp: at 64 dimensions the
densities themselves underflow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

Array = NDArray[np.float64]

WEIGHT_TOLERANCE = 1e-4
# Rows of a block, so that N x K x J never has to exist at once for large batches.
BLOCK = 256


class MixtureEnergy:
    """A mixture with diagonal or full covariances.

    Args:
        weights: float64, K, positive, sum 1.
        means: float64, K x J.
        precision_cholesky: float64, K x J (1 / standard deviation: diagonal) or K x J x J (upper
            triangular P with Sigma^-1 = P P^T: full).
    """

    def __init__(self, weights: Array, means: Array, precision_cholesky: Array) -> None:
        self._means = means
        self._precision = precision_cholesky
        self._full = precision_cholesky.ndim == 3
        diagonal = (
            np.diagonal(precision_cholesky, axis1=1, axis2=2) if self._full else precision_cholesky
        )
        # log pi_c - J/2 log 2 pi + 1/2 log det Sigma_c^-1
        self._constant: Array = (
            np.log(weights)
            - 0.5 * means.shape[1] * np.log(2.0 * np.pi)
            + np.log(diagonal).sum(axis=1)
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> MixtureEnergy:
        """Build from the arrays of a head file.

        Keys: ``weights`` (K), ``means`` (K x J), and ``variances`` (K x J) or
        ``precision_cholesky`` (K x J x J).

        Raises:
            DataError: A key is missing, shapes disagree, or a weight or variance is not positive.
        """
        missing = sorted({"weights", "means"} - set(arrays))
        if missing or not ({"variances", "precision_cholesky"} & set(arrays)):
            raise DataError(
                f"a mixture head needs weights, means and covariances; found {sorted(arrays)}"
            )
        weights = np.asarray(arrays["weights"], np.float64)
        means = np.asarray(arrays["means"], np.float64)
        if "variances" in arrays:
            variances = np.asarray(arrays["variances"], np.float64)
            if not (variances > 0.0).all():
                raise DataError("a mixture variance is zero or negative")
            precision = 1.0 / np.sqrt(variances)
            expected: tuple[int, ...] = means.shape
        else:
            precision = np.asarray(arrays["precision_cholesky"], np.float64)
            expected = (*means.shape, means.shape[-1])
            if not (np.diagonal(precision, axis1=-2, axis2=-1) > 0.0).all():
                raise DataError("a precision factor has a diagonal that is not positive")
        if means.ndim != 2 or weights.shape != means.shape[:1] or precision.shape != expected:
            raise DataError(
                f"mixture shapes disagree: weights {weights.shape}, means {means.shape}, "
                f"covariances {precision.shape}"
            )
        if not (weights > 0.0).all() or abs(float(weights.sum()) - 1.0) > WEIGHT_TOLERANCE:
            raise DataError("mixture weights must be positive and sum to 1")
        return cls(weights, means, precision)

    @property
    def dimensions(self) -> int:
        """J, the length of a latent vector."""
        return int(self._means.shape[1])

    def energy(self, z: NDArray[np.floating]) -> Array:
        """Energies of latent vectors; N x J in, float64 N out; large is anomalous."""
        points: Array = z.astype(np.float64)
        result = np.empty(len(points))
        for start in range(0, len(points), BLOCK):
            log_joint = self._log_joint(points[start : start + BLOCK])
            peak = log_joint.max(axis=1)
            total = np.exp(log_joint - peak[:, None]).sum(axis=1)
            result[start : start + BLOCK] = -(peak + np.log(total))
        return result

    def _log_joint(self, z: Array) -> Array:
        """Log joint: log pi_c + log N(z; mu_c, Sigma_c), float64 n x K."""
        if self._full:
            projected = np.einsum("nj,kji->nki", z, self._precision)
            projected -= np.einsum("kj,kji->ki", self._means, self._precision)
        else:
            projected = (z[:, None, :] - self._means) * self._precision
        squared: Array = np.einsum("nki,nki->nk", projected, projected)
        return self._constant - 0.5 * squared
