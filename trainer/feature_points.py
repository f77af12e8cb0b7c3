"""Feature vectors of several clips: checked, and drawn from evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

Points = NDArray[np.float32]


def sample_points(groups: Sequence[Points], *, max_points: int | None, seed: int) -> Points:
    """At most `max_points` points of all groups: float32 (n, J) each -> (min(N, max_points), J).

    Every point has the same chance, and every group gives its proportional share, to within one
    point. The order of the groups stays.

    Raises:
        DataError: No groups, shapes that disagree, `max_points` below 1.
    """
    groups = checked_points(groups)
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


def checked_points(groups: Sequence[Points]) -> list[Points]:
    """The groups as float32 (n, J) of one J.

    Raises:
        DataError: Shapes that disagree, no vectors at all, numbers that are not finite.
    """
    groups = [np.asarray(group, np.float32) for group in groups]
    shapes = [group.shape for group in groups]
    if not groups or any(len(s) != 2 or s[1] != shapes[0][1] or s[1] < 1 for s in shapes):
        raise DataError(f"features must be vectors of one length, found shapes {shapes[:8]}")
    if not any(map(len, groups)):
        raise DataError("there are no feature vectors to fit a mixture on")
    if not all(np.isfinite(group).all() for group in groups):
        raise DataError("a feature vector holds a number that is not finite")
    return groups
