"""What is learned while some clips are left out, and what it says of them.

Energies out of sample are what statistics and trust in a stream rest on: of footage that was
learned from, everything looks more normal than it will look tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.feature_points import Points, checked_points, sample_points

Vectors = NDArray[np.float64]


class Judge(Protocol):
    """What was learned: it gives each point an energy, high is anomalous."""

    def energy(self, points: Points) -> Vectors:
        """float32 (N, J) -> float64 (N,)."""


Learned = TypeVar("Learned", bound=Judge)


@dataclass(frozen=True)
class CrossFit(Generic[Learned]):
    """What was learned of some groups while others were left out.

    Attributes:
        energies: float64 (n,) a group: of its points, by what was learned without its fold.
        unseen: A group: what was learned without it; None for a group without points or in several
            folds.
        learned: A fold: what was learned without it.
    """

    energies: list[Vectors]
    unseen: list[Learned | None]
    learned: list[Learned]


def cross_fit(
    groups: Sequence[Points],
    learn: Callable[[Points, Points], Learned],
    *,
    folds: int,
    seed: int,
    max_points: int | None = None,
) -> CrossFit[Learned]:
    """Energies of every group's points by what was learned without that group's fold.

    Groups (a group is one clip) are dealt to folds round robin. A single group is cut in `folds`
    contiguous blocks instead, points being in order of time, so that the answer is still out of
    sample (but for the neighbours across a cut).

    Args:
        groups: float32 (n, J) each; may be empty, not all.
        learn: From the points of the other folds and those that are left out to what is learned.
        folds: At least 2; lowered to the number of groups that are not empty, if several.
        seed: Decides samples.
        max_points: Most points to learn from (see `sample_points`); None: all.

    Raises:
        DataError: Fewer than two folds or points, bad shapes, numbers that are not finite.
    """
    groups = checked_points(groups)
    if folds < 2 or sum(map(len, groups)) < 2:
        raise DataError(f"energies out of sample need two folds and two points; folds {folds}")
    dealt = _deal(groups, folds)
    result: CrossFit[Learned] = CrossFit(
        [np.empty(len(group)) for group in groups], [None] * len(groups), []
    )
    for fold in sorted({int(f) for of in dealt for f in np.unique(of)}):
        others = [group[of != fold] for group, of in zip(groups, dealt, strict=True)]
        left_out = [group[of == fold] for group, of in zip(groups, dealt, strict=True)]
        points = sample_points(others, max_points=max_points, seed=seed)
        learned = learn(points, np.concatenate(left_out))
        result.learned.append(learned)
        for at, (group, of) in enumerate(zip(groups, dealt, strict=True)):
            inside = of == fold
            if inside.any():
                result.energies[at][inside] = learned.energy(group[inside])
                result.unseen[at] = learned if inside.all() else None
    return result


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
