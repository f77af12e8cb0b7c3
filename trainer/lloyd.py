"""Lloyd's iterations for k-means with a thousand centres: start, assignment, move."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

# Rounding makes distances of equal float32 points this part of their squared length at most.
_SAME_POINT = 1e-6
_CHUNK = 2048
_SUM_CHUNK = 8192


def chunks(size: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that cover 0 .. size-1."""
    return (slice(begin, begin + step) for begin in range(0, size, step))


def start(points: Points, squares: Points, components: int, rng: np.random.Generator) -> Points:
    """Greedy k-means++: of some draws by squared distance, the one that lowers the sum most.

    On a random subset, four points a component and more: on all it would cost more than the rest.
    """
    size = min(len(points), max(2000, 4 * components))
    pick = rng.choice(len(points), size, replace=False)
    points, squares = points[pick], squares[pick]
    same = _SAME_POINT * float(squares.max())

    def distances(to: NDArray[np.intp]) -> Points:
        result: Points = squares - 2.0 * (points[to] @ points.T) + squares[to][:, None]
        result[result <= same] = 0.0
        return result

    draws = 2 + int(np.log(components))
    chosen = [int(rng.integers(size))]
    nearest = distances(np.array(chosen))[0]
    while len(chosen) < components:
        cumulative = np.cumsum(nearest, dtype=np.float64)
        if cumulative[-1] <= 0.0:  # fewer distinct points than components
            break
        drawn = np.searchsorted(cumulative, rng.random(draws) * cumulative[-1], side="right")
        drawn = np.minimum(drawn, size - 1)
        trials = np.minimum(nearest, distances(drawn))
        best = int(trials.sum(1).argmin())
        chosen.append(int(drawn[best]))
        nearest = trials[best]
    means: Points = points[chosen]
    return means


def assign(
    points: Points, squares: Points, means: Points
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The nearest centre of every point, (n,), and the squared distance to it, (n,)."""
    half = 0.5 * np.einsum("kj,kj->k", means, means)
    labels = np.empty(len(points), np.intp)
    distances = np.empty(len(points), np.float32)
    for at in chunks(len(points), _CHUNK):
        closeness = points[at] @ means.T
        closeness -= half
        labels[at] = closeness.argmax(1)
        distances[at] = squares[at] - 2.0 * closeness.max(1)
    return labels, distances


def move(
    points: Points, labels: NDArray[np.intp], distances: NDArray[np.float32], means: Points
) -> Points:
    """The mean of every centre's points; a centre without points goes to a farthest point."""
    sums = np.zeros(means.shape)
    for at in chunks(len(points), _SUM_CHUNK):
        # Sorted by centre, sums of runs: a product with a 0/1 matrix takes five times as long.
        order = np.argsort(labels[at], kind="stable")
        present, begins = np.unique(labels[at][order], return_index=True)
        sums[present] += np.add.reduceat(points[at][order], begins, axis=0)
    counts = np.bincount(labels, minlength=len(means))
    moved: Points = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        moved[empty] = points[np.argsort(-distances, kind="stable")[: len(empty)]]
    return moved
