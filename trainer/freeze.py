"""From a trained prior to the head arrays of a bundle."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.models.mixture_prior import MixturePrior

_BATCH = 500
# Smallest variance of an added coordinate, as a part of its variance over all patches.
_FLOOR = 1e-2

Vectors = NDArray[np.float64]
Indices = NDArray[np.intp]
Head = dict[str, NDArray[np.generic]]


@torch.no_grad()
def responsibilities(prior: MixturePrior, z: Vectors) -> Vectors:
    """Gamma of latent means, Eq. (13), in double precision: float64 (N, J) -> (N, K)."""
    exact = _exact(prior)
    return np.concatenate(
        [
            exact.log_responsibilities(torch.from_numpy(z[i : i + _BATCH])).exp().numpy()
            for i in range(0, len(z), _BATCH)
        ]
    )


@torch.no_grad()
def freeze_mixture(prior: MixturePrior, gamma: Vectors, *, prune: float) -> tuple[Head, Indices]:
    """Head arrays without the components that hold nothing.

    Args:
        prior: The trained mixture.
        gamma: Its responsibilities for normal patches, float64 (N, K).
        prune: A component with mean gamma below 1 / (prune K) is dropped; 0 keeps all. The largest
            is always kept.

    Returns:
        weights (K'), means (K', J), variances (K', J), float64, weights summing to 1; and the
        numbers of the K' components that are kept.
    """
    exact = _exact(prior)
    share = gamma.mean(0)
    components = len(share)
    least = 1.0 / (prune * components) if prune else 0.0
    kept = np.flatnonzero(share >= min(least, float(share.max())))
    weights = torch.softmax(exact.logits, 0).numpy()[kept]
    arrays: Head = {
        "weights": weights / weights.sum(),
        "means": exact.means.numpy()[kept],
        "variances": exact.log_variances.exp().numpy()[kept],
    }
    return arrays, kept


def add_coordinate(head: Head, gamma: Vectors, values: Vectors) -> Head:
    """Head arrays of the same components with one more coordinate: one step of EM for it.

    Args:
        head: weights (K'), means (K', J), variances (K', J) of a frozen mixture.
        gamma: Responsibilities of these components, float64 (N, K').
        values: The coordinate of the same patches, float64 (N).

    Returns:
        The same weights, means and variances (K', J + 1).
    """
    mass = gamma.sum(0)
    held = mass > 0.0
    mass = np.where(held, mass, 1.0)
    # A component that holds nothing (kept with prune 0) has the coordinate of all patches.
    means = np.where(held, gamma.T @ values / mass, values.mean())
    spread = (gamma * np.square(values[:, None] - means)).sum(0) / mass
    variances = np.maximum(np.where(held, spread, values.var()), _FLOOR * values.var())
    return {
        **head,
        "means": np.column_stack([head["means"], means]),
        "variances": np.column_stack([head["variances"], variances]),
    }


def _exact(prior: MixturePrior) -> MixturePrior:
    exact = MixturePrior(*prior.means.shape).double()
    exact.load_state_dict({k: v.double().cpu() for k, v in prior.state_dict().items()})
    return exact
