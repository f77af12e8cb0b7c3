"""How large a mixture, by what it says of footage not seen; for any form of covariance.

Every judgement here goes through `edge.scoring.energy` and
the arrays that a bundle stores: what is judged is what is flashed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.feature_points import Points, checked_points, sample_points
from trainer.gaussian_mixture import fit_gaussians
from trainer.spherical_mixture import fit_spherical

Vectors = NDArray[np.float64]
Covariance = Literal["spherical", "diag", "full"]

# Fewest points a component must have on average to be tried: with less, it memorises.
POINTS_PER_COMPONENT = 8
# Held-out likelihoods that differ by less, in nats a point, are a tie; the smaller mixture wins.
TIE_NATS = 0.01
# Blocks that a single fold is cut into when components are chosen.
SINGLE_FOLD_BLOCKS = 4


class Mixture(Protocol):
    """A fitted mixture."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays of a head file of kind ``mixture``."""

    def energy(self, points: Points) -> Vectors:
        """Energies (Fan et al. 2018, Eq. (17)) in nats, (N, J) -> float64 (N,)."""

    def log_likelihood(self, points: Points) -> float:
        """Mean log-density of points, in nats a point."""


Fit = Callable[[Points, int], Mixture]
"""Points and the most components to a mixture."""


def fitter(covariance: Covariance, *, seed: int) -> Fit:
    """How mixtures with this form of covariance are fitted."""
    if covariance == "spherical":
        return lambda points, components: fit_spherical(points, components=components, seed=seed)
    return lambda points, components: fit_gaussians(
        points, components=components, covariance=covariance, seed=seed
    )


@dataclass(frozen=True)
class ComponentChoice:
    """The chosen K and, for every K tried, the mean held-out log-density in nats a point."""

    components: int
    held_out: dict[int, float]


def choose_components(
    folds: Sequence[Points],
    fit: Fit,
    *,
    largest: int,
    seed: int,
    rounds: int | None = None,
    max_points: int | None = None,
) -> ComponentChoice:
    """Choose K by the likelihood of a fold that the mixture was not fitted on.

    Tries the largest K allowed, then that / 3, / 10, / 30 ... down to 1; never more than one
    component for 8 points fitted on, so that little footage gives a small mixture.

    Args:
        folds: float32 (n, J) each; empty ones are ignored; a single one is cut in contiguous
            blocks. Folds should hold whole clips: neighbouring windows resemble each other.
        fit: How a mixture is fitted.
        largest: Most components to try, >= 1.
        seed: Decides samples and starts.
        rounds: Folds that are held out, one after the other, from the first; None: all.
        max_points: Most points of one fit (see `sample_points`); None: all.

    Raises:
        DataError: Fewer than two points, bad shapes, numbers that are not finite, `largest` < 1.
    """
    if largest < 1 or (rounds is not None and rounds < 1):
        raise DataError(f"largest and rounds must be positive: {largest}, {rounds}")
    filled = [fold for fold in checked_points(folds) if len(fold)]
    if len(filled) == 1:
        filled = [cut for cut in np.array_split(filled[0], SINGLE_FOLD_BLOCKS) if len(cut)]
    if len(filled) < 2:
        raise DataError("components are chosen on two feature vectors at least")
    held_out = filled[:rounds]
    training = [
        sample_points(filled[:at] + filled[at + 1 :], max_points=max_points, seed=seed)
        for at in range(len(held_out))
    ]
    allowed = min(len(points) for points in training) // POINTS_PER_COMPONENT
    table = {}
    for components in _candidates(max(1, min(largest, allowed))):
        total = 0.0
        for points, held in zip(training, held_out, strict=True):
            mixture = fit(points, components)
            total += mixture.log_likelihood(held) * len(held)
        table[components] = total / sum(map(len, held_out))
    best = max(table.values())
    return ComponentChoice(min(k for k, value in table.items() if value >= best - TIE_NATS), table)


def _candidates(largest: int) -> list[int]:
    """Largest, / 3, / 10, / 30 ... 1, falling, each once."""
    steps = [largest // (factor * 10**power) for power in range(7) for factor in (1, 3)]
    return sorted({max(1, step) for step in steps}, reverse=True)
