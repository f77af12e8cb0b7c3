"""Motion representations of a window of flows: one image (u, v, magnitude) that sums up T frames.

- ``ranksvm``: dynamic flow by the exact ranking SVM of Eq. (4) (Fan et al. 2018, Section III-A).
- ``arp``: one gradient step of the same problem, the closed form of Bilen et al. (CVPR 2016).
- ``arp_raw``: the same without the time-varying means.
- ``mean``: the mean flow; the only single one that sees constant motion.
- ``combined``: mean flow (u, v), and as third channel the magnitude of the dynamic flow.

All but ``mean`` weigh the flows by numbers that sum to zero, so constant motion gives nothing.
"""

from __future__ import annotations

import functools
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge.vision.flow import FlowImage
from edge.vision.flow_window import STEPS_PER_PIXEL, FlowWindow
from edge.vision.rank_svm import solve_rank_svm

Representation = Literal["ranksvm", "arp", "arp_raw", "mean", "combined"]
REPRESENTATIONS: tuple[str, ...] = get_args(Representation)
# Mean squared distance of two window means below which a window has no motion, in squared steps
# per value: a quarter of one quantisation step.
MOTION_FLOOR = 0.25**2
MINIMUM_FLOWS = 2

Vector = NDArray[np.float64]


def mean_operator(n: int) -> NDArray[np.float64]:
    """A with A_ks = 1/k for s <= k, else 0 (k, s from 1): V = A v are the time-varying means."""
    return np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]


@functools.lru_cache(maxsize=64)
def arp_weights(n: int) -> Vector:
    """Closed-form weights alpha_t = 2 (n - t + 1) - (n + 1)(H_n - H_{t-1}); float64, n."""
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])
    t = np.arange(1, n + 1)
    weights: Vector = 2.0 * (n - t + 1) - (n + 1) * (harmonic[n] - harmonic[t - 1])
    weights.flags.writeable = False
    return weights


def rank_svm_weights(gram: NDArray[np.float64], *, c: float, values: int) -> Vector:
    """Weights alpha on the raw flows of the exact solution of Eq. (4).

    The window is brought to unit scale first (mean squared distance of two means = 1), so that C
    has no unit; afterwards sum |alpha| is set to that of the closed form, so that F(q v) = q F(v).

    Args:
        gram: G_st = v_s . v_t in squared steps, float64, n x n, oldest first.
        c: Soft-margin parameter.
        values: Values per flow (height x width x 2): the floor below which there is no motion.

    Returns:
        float64, n; all zero for a window without motion.
    """
    n = len(gram)
    means = mean_operator(n)
    kernel: NDArray[np.float64] = means @ gram @ means.T
    square = np.diag(kernel)
    distances = square[:, None] + square[None, :] - 2.0 * kernel
    scale = float(distances[np.triu_indices(n, k=1)].mean())
    if scale <= MOTION_FLOOR * values * _MOVING_SHARE:
        return np.zeros(n)
    alpha: Vector = means.T @ solve_rank_svm(kernel / scale, c).beta
    total = float(np.abs(alpha).sum())
    if total == 0.0:
        return np.zeros(n)
    return alpha * (float(np.abs(arp_weights(n)).sum()) / total)


# A window counts as moving if the floor is passed by one value in a thousand.
_MOVING_SHARE = 1e-3


def window_weights(
    representation: str, gram: NDArray[np.float64], *, c: float, values: int
) -> Vector:
    """Weights on the raw flows, oldest first, of any representation but ``combined``."""
    n = len(gram)
    if representation == "ranksvm":
        return rank_svm_weights(gram, c=c, values=values)
    if representation == "arp":
        return arp_weights(n)
    if representation == "arp_raw":
        return 2.0 * np.arange(1, n + 1, dtype=np.float64) - n - 1.0
    return np.full(n, 1.0 / n)


def field_weights(
    representation: str, gram: NDArray[np.float64], *, c: float, values: int
) -> tuple[Vector, Vector]:
    """Weights on the raw flows of a motion image: of (u, v), and of the vector behind its length.

    Args:
        representation: One of `REPRESENTATIONS`.
        gram: G_st = v_s . v_t in squared steps, float64, n x n, oldest first.
        c: Soft-margin parameter of Eq. (4).
        values: Values per flow.
    """
    if representation == "combined":
        weights = rank_svm_weights(gram, c=c, values=values)
        total = float(np.abs(weights).sum())
        # Half the absolute weights: a difference of two weighted means, in pixels like the mean.
        dynamic = weights / (total / 2.0) if total else weights
        return window_weights("mean", gram, c=c, values=values), dynamic
    weights = window_weights(representation, gram, c=c, values=values)
    return weights, weights


def motion_field(
    window: FlowWindow, representation: str, *, c: float, values: int
) -> NDArray[np.float32] | None:
    """The motion image before scaling to [0, 1].

    Args:
        window: The flows.
        representation: One of `REPRESENTATIONS`.
        c: Soft-margin parameter of Eq. (4).
        values: Values per flow.

    Returns:
        float32, height x width x 3: u, v, magnitude; None with fewer than two flows.
    """
    if len(window) < MINIMUM_FLOWS:
        return None
    weights, of_length = field_weights(representation, window.gram, c=c, values=values)
    flow = window.weighted_sum(weights)
    vector = flow if of_length is weights else window.weighted_sum(of_length)
    return _stack(flow, _magnitude(vector))


def to_unit_range(field: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Map a motion field to [0, 1]: u, v -> 0.5 + F / (2 S), magnitude -> F / S, clipped.

    A fixed scale per stream keeps magnitudes comparable between cells and frames (reading A13).

    Args:
        field: float32, ... x 3.
        scale: S > 0, in the field's unit.
    """
    unit = field * np.array([0.5 / scale, 0.5 / scale, 1.0 / scale], np.float32)
    unit += np.array([0.5, 0.5, 0.0], np.float32)
    return np.clip(unit, 0.0, 1.0, out=unit)


def _stack(flow: FlowImage, magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.dstack([flow, magnitude])


def _magnitude(flow: FlowImage) -> NDArray[np.float32]:
    squared: NDArray[np.float32] = flow[..., 0] ** 2 + flow[..., 1] ** 2
    return np.sqrt(squared)


__all__ = [
    "REPRESENTATIONS",
    "STEPS_PER_PIXEL",
    "arp_weights",
    "field_weights",
    "mean_operator",
    "motion_field",
    "rank_svm_weights",
    "to_unit_range",
    "window_weights",
]
