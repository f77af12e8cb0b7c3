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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.scoring.energy import MixtureEnergy
from engines.errors import DataError
from trainer.lloyd import assign, chunks, move, start

Points = NDArray[np.float32]
Vectors = NDArray[np.float64]

# Fewest points a component must have on average to be tried: with less, it memorises.
POINTS_PER_COMPONENT = 8
# Held-out likelihoods that differ by less, in nats a point, are a tie; the smaller mixture wins.
TIE_NATS = 0.01
# Blocks that a single fold is cut into when components are chosen.
SINGLE_FOLD_BLOCKS = 4
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


@dataclass(frozen=True)
class ComponentChoice:
    """The chosen K and, for every K tried, the mean held-out log-density in nats a point."""

    components: int
    held_out: dict[int, float]


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
    points = _checked([points])[0]
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


def choose_components(
    folds: Sequence[Points],
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
        largest: Most components to try, >= 1.
        seed: Decides samples and starts.
        rounds: Folds that are held out, one after the other, from the first; None: all.
        max_points: Most points of one fit (see `sample_points`); None: all.

    Raises:
        DataError: Fewer than two points, bad shapes, numbers that are not finite, `largest` < 1.
    """
    if largest < 1 or (rounds is not None and rounds < 1):
        raise DataError(f"largest and rounds must be positive: {largest}, {rounds}")
    filled = [fold for fold in _checked(folds) if len(fold)]
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
            mixture = fit_spherical(points, components=components, seed=seed)
            total += mixture.log_likelihood(held) * len(held)
        table[components] = total / sum(map(len, held_out))
    best = max(table.values())
    return ComponentChoice(min(k for k, value in table.items() if value >= best - TIE_NATS), table)


@dataclass(frozen=True)
class CrossFit:
    """What was learned of some groups while others were left out.

    Attributes:
        energies: float64 (n,) a group, in nats: of its points under a mixture without its fold.
        unseen: A group: that mixture; None for a group without points or in several folds.
    """

    energies: list[Vectors]
    unseen: list[SphericalMixture | None]


def cross_fit(
    groups: Sequence[Points],
    *,
    folds: int,
    components: int,
    seed: int,
    max_points: int | None = None,
) -> CrossFit:
    """Energies of every group's points under a mixture fitted without that group's fold.

    Groups (a group is one clip) are dealt to folds round robin. A single group is cut in `folds`
    contiguous blocks instead, points being in order of time, so that the answer is still out of
    sample (but for the neighbours across a cut).

    Args:
        groups: float32 (n, J) each; may be empty, not all.
        folds: At least 2; lowered to the number of groups that are not empty, if several.
        components: K of each fit.
        seed: Decides samples and starts.
        max_points: Most points of one fit (see `sample_points`); None: all.

    Raises:
        DataError: Fewer than two folds or points, bad shapes, numbers that are not finite.
    """
    groups = _checked(groups)
    if folds < 2 or sum(map(len, groups)) < 2:
        raise DataError(f"energies out of sample need two folds and two points; folds {folds}")
    dealt = _deal(groups, folds)
    result = CrossFit([np.empty(len(group)) for group in groups], [None] * len(groups))
    for fold in sorted({int(f) for of in dealt for f in np.unique(of)}):
        others = [group[of != fold] for group, of in zip(groups, dealt, strict=True)]
        points = sample_points(others, max_points=max_points, seed=seed)
        mixture = fit_spherical(points, components=components, seed=seed)
        for at, (group, of) in enumerate(zip(groups, dealt, strict=True)):
            inside = of == fold
            if inside.any():
                result.energies[at][inside] = mixture.energy(group[inside])
                result.unseen[at] = mixture if inside.all() else None
    return result


def sample_points(groups: Sequence[Points], *, max_points: int | None, seed: int) -> Points:
    """At most `max_points` points of all groups: float32 (n, J) each -> (min(N, max_points), J).

    Every point has the same chance, and every group gives its proportional share, to within one
    point. The order of the groups stays.

    Raises:
        DataError: No groups, shapes that disagree, `max_points` below 1.
    """
    groups = _checked(groups)
    total = sum(map(len, groups))
    if max_points is None or total <= max_points:
        return np.concatenate(groups)
    if max_points < 1:
        raise DataError(f"a sample must have at least one point: {max_points}")
    rng = np.random.default_rng(seed)
    # Even steps through the groups, each shuffled: unshuffled, a step of one frame's number of
    # cells would take the same cell of every frame.
    steps = (np.arange(max_points) + rng.random()) * (total / max_points)
    taken = np.minimum(steps.astype(np.intp), total - 1)
    ends = np.cumsum([len(group) for group in groups])
    pieces = []
    for group, end in zip(groups, ends, strict=True):
        order = rng.permutation(len(group))
        inside = taken[(taken >= end - len(group)) & (taken < end)] - (end - len(group))
        pieces.append(group[order[inside]])
    return np.concatenate(pieces)


def _checked(groups: Sequence[Points]) -> list[Points]:
    """The groups as float32 (n, J) of one J."""
    groups = [np.asarray(group, np.float32) for group in groups]
    shapes = [group.shape for group in groups]
    if not groups or any(len(s) != 2 or s[1] != shapes[0][1] or s[1] < 1 for s in shapes):
        raise DataError(f"features must be vectors of one length, found shapes {shapes[:8]}")
    if not any(map(len, groups)):
        raise DataError("there are no feature vectors to fit a mixture on")
    if not all(np.isfinite(group).all() for group in groups):
        raise DataError("a feature vector holds a number that is not finite")
    return groups


def _candidates(largest: int) -> list[int]:
    """Largest, / 3, / 10, / 30 ... 1, falling, each once."""
    steps = [largest // (factor * 10**power) for power in range(7) for factor in (1, 3)]
    return sorted({max(1, step) for step in steps}, reverse=True)


def _deal(groups: Sequence[Points], folds: int) -> list[NDArray[np.intp]]:
    """The fold of every point, (n,) a group."""
    filled = [index for index, group in enumerate(groups) if len(group)]
    dealt = [np.zeros(len(group), np.intp) for group in groups]
    if len(filled) == 1:
        size = len(groups[filled[0]])
        dealt[filled[0]] = np.arange(size) * min(folds, size) // size
    else:
        for turn, index in enumerate(filled):
            dealt[index] += turn % folds
    return dealt
