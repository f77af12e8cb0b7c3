"""EM for a Gaussian mixture with diagonal covariances, in float64: the start of the joint training.

Several starts from k-means++; the one that explains held-out vectors best is taken, never the one
that fits the training vectors best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]

_LLOYD_STEPS = 5
_CHUNK = 8192


@dataclass(frozen=True)
class DiagonalMixture:
    """weights (K,), means (K, J), variances (K, J), all float64; weights sum to 1."""

    weights: Vectors
    means: Vectors
    variances: Vectors

    def log_joint(self, z: Vectors) -> Vectors:
        """Log pi_c + log N(z; mu_c, diag), (N, J) -> (N, K)."""
        inverse = 1.0 / self.variances
        # Expanded around the mean of the components, so that the squares stay small.
        centre = self.weights @ self.means
        z, means = z - centre, self.means - centre
        quadratic = (z * z) @ inverse.T - 2.0 * (z @ (means * inverse).T)
        quadratic += (means * means * inverse).sum(1)
        normaliser = np.log(2.0 * np.pi * self.variances).sum(1)
        with np.errstate(divide="ignore"):
            result: Vectors = np.log(self.weights) - 0.5 * (normaliser + quadratic)
        return result

    def log_likelihood(self, z: Vectors) -> Vectors:
        """Log p(z), (N, J) -> (N,), in nats."""
        return log_sum_exp(self.log_joint(z))


@dataclass(frozen=True)
class EmResult:
    """The mixture and how it came about: mean log-likelihoods in nats, EM steps, which start."""

    mixture: DiagonalMixture
    fit_likelihood: float
    held_out_likelihood: float
    iterations: int
    restart: int


def fit_mixture(
    fit: Vectors,
    held_out: Vectors,
    *,
    components: int,
    restarts: int,
    iterations: int,
    tolerance: float,
    variance_floor: float,
    seed: int,
) -> EmResult:
    """Best of `restarts` runs of EM by held-out likelihood.

    Args:
        fit: Training vectors, float64 (N, J); N >= 1.
        held_out: Vectors that choose the start, float64 (M, J); if empty, `fit` chooses.
        components: K; lowered to the number of distinct training vectors.
        restarts: Starts.
        iterations: Most steps of one start.
        tolerance: A start ends when the mean log-likelihood rises by less, in nats.
        variance_floor: Smallest variance as a part of the pooled variance of the dimension.
        seed: Decides the starts.
    """
    judge = held_out if len(held_out) else fit
    floor = np.maximum(variance_floor * fit.var(0), 1e-9)
    best: EmResult | None = None
    for restart in range(restarts):
        rng = np.random.default_rng([seed, restart])
        mixture = _start(fit, components, floor, rng)
        mixture, steps, likelihood = _run(fit, mixture, iterations, tolerance, floor)
        judged = _mean_likelihood(mixture, judge)
        if best is None or judged > best.held_out_likelihood:
            best = EmResult(mixture, likelihood, judged, steps, restart)
    assert best is not None
    return best


def log_sum_exp(values: Vectors) -> Vectors:
    """Log of the sum of exponentials over the last axis, without overflow."""
    highest = values.max(-1, keepdims=True)
    result: Vectors = np.log(np.exp(values - highest).sum(-1)) + highest[..., 0]
    return result


def em_step(z: Vectors, mixture: DiagonalMixture, floor: Vectors) -> tuple[DiagonalMixture, float]:
    """One EM step; returns the new mixture and the mean log-likelihood of the OLD one."""
    components, latent = mixture.means.shape
    counts = np.zeros(components)
    first = np.zeros((components, latent))
    second = np.zeros((components, latent))
    total = 0.0
    centre = mixture.weights @ mixture.means
    worst_value, worst = np.inf, z[0]
    for begin in range(0, len(z), _CHUNK):
        piece = z[begin : begin + _CHUNK]
        joint = mixture.log_joint(piece)
        likelihood = log_sum_exp(joint)
        gamma = np.exp(joint - likelihood[:, None])
        shifted = piece - centre
        counts += gamma.sum(0)
        first += gamma.T @ shifted
        second += gamma.T @ (shifted * shifted)
        total += float(likelihood.sum())
        lowest = int(likelihood.argmin())
        if likelihood[lowest] < worst_value:
            worst_value, worst = float(likelihood[lowest]), piece[lowest]
    lost = counts < 1e-6
    safe = np.where(lost, 1.0, counts)[:, None]
    means = first / safe
    variances = np.maximum(second / safe - means * means, floor)
    means += centre
    if lost.any():  # a component that holds nothing starts again at the worst-explained vector
        means[lost] = worst
        variances[lost] = z.var(0) + floor
        counts[lost] = 1.0
    return DiagonalMixture(counts / counts.sum(), means, variances), total / len(z)


def _run(
    z: Vectors, mixture: DiagonalMixture, iterations: int, tolerance: float, floor: Vectors
) -> tuple[DiagonalMixture, int, float]:
    previous = -np.inf
    for step in range(1, iterations + 1):
        mixture, likelihood = em_step(z, mixture, floor)
        if likelihood - previous < tolerance:
            return mixture, step, likelihood
        previous = likelihood
    return mixture, iterations, previous


def _mean_likelihood(mixture: DiagonalMixture, z: Vectors) -> float:
    pieces = [
        mixture.log_likelihood(z[begin : begin + _CHUNK]).sum()
        for begin in range(0, len(z), _CHUNK)
    ]
    return float(sum(pieces) / len(z))


def _start(
    z: Vectors, components: int, floor: Vectors, rng: np.random.Generator
) -> DiagonalMixture:
    """k-means++ seeds, a few steps of Lloyd, then one hard assignment."""
    means = _plus_plus(z, components, rng)
    for _ in range(_LLOYD_STEPS):
        nearest = _distances(z, means).argmin(1)
        means = np.stack(
            [
                z[nearest == c].mean(0) if (nearest == c).any() else means[c]
                for c in range(len(means))
            ]
        )
    nearest = _distances(z, means).argmin(1)
    counts = np.bincount(nearest, minlength=len(means)).astype(np.float64)
    pooled = np.maximum(z.var(0), floor)
    variances = np.stack(
        [
            np.maximum(z[nearest == c].var(0), floor) if counts[c] > 1 else pooled
            for c in range(len(means))
        ]
    )
    counts = np.maximum(counts, 1.0)
    return DiagonalMixture(counts / counts.sum(), means, variances)


def _plus_plus(z: Vectors, components: int, rng: np.random.Generator) -> Vectors:
    """Seeds drawn with probability proportional to the squared distance to the nearest one."""
    chosen = [z[int(rng.integers(len(z)))]]
    distance = _distances(z, chosen[0][None])[:, 0]
    while len(chosen) < components:
        total = float(distance.sum())
        if total <= 0.0:  # fewer distinct vectors than components
            break
        chosen.append(z[int(rng.choice(len(z), p=distance / total))])
        distance = np.minimum(distance, _distances(z, chosen[-1][None])[:, 0])
    return np.stack(chosen)


def _distances(z: Vectors, means: Vectors) -> Vectors:
    """Squared distances, (N, J) and (K, J) -> (N, K), never negative."""
    result: Vectors = (z * z).sum(1)[:, None] - 2.0 * (z @ means.T) + (means * means).sum(1)
    return np.maximum(result, 0.0)
