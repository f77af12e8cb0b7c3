"""Which ways things go where: a table of directions for every place, from normal footage.

Counted in seconds of motion: a frame adds its own length to each active cell, shared between the
two bins beside the direction. So frames that show the same thing count as the second that they
are, at any frame rate: a cell gets one count a second at most, about what one thing needs to cross
it, and about as often as the mean of the input (half a second) is a new look.

A count tells of its surroundings too: counts are averaged over neighbouring places and bins with a
Gaussian. Averaged, not added up: the cells under one thing move together, and ten of them are no
more evidence than one. To that comes the prior, a few counts spread evenly over the directions:
where nobody went the energy of every direction is 0, and where n counts all went another way it
is ln(1 + n / prior), which grows with the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from edge.scoring.heads import PlaceHead
from engines.errors import DataError

Counts = NDArray[np.float64]
"""rows x columns x bins, seconds."""

BINS = 12
PRIOR_COUNTS = 2.0
# Gaussian over places, as a part of the picture's height: 2 cells of 8 px in 280 px.
SIGMA_HEIGHTS = 2.0 * 8.0 / 280.0
SIGMA_TURNS = 0.05
# A longer step between two frames is a gap, and one count.
_LONGEST_S = 1.0


@dataclass(frozen=True)
class Directions:
    """What one stretch of footage showed.

    Attributes:
        fold: Stretches of one fold are left out together for energies out of sample.
        counts: float64, rows x columns x bins: seconds of motion.
        features: float32, N x 3: row, column, angle in turns of cells whose energies are wanted.
    """

    fold: int
    counts: Counts
    features: NDArray[np.float32]


def count_directions(
    features: NDArray[np.float32], seconds: float, *, shape: tuple[int, int], bins: int = BINS
) -> Counts:
    """Counts of one frame.

    Args:
        features: float32, N x 3: row, column, angle in turns; every cell at most once.
        seconds: Since the frame before.
        shape: (rows, columns) of the grid.
        bins: Bin b is centred at b / bins turns.

    Returns:
        float64, rows x columns x bins, seconds.
    """
    counts = np.zeros((*shape, bins))
    add_directions(counts, features, seconds)
    return counts


def add_directions(counts: Counts, features: NDArray[np.float32], seconds: float) -> None:
    """As `count_directions`, added to `counts` in place."""
    bins = counts.shape[2]
    rows, columns = features[:, :2].astype(np.int64).T
    position = np.mod(features[:, 2].astype(np.float64), 1.0) * bins
    below = np.floor(position).astype(np.int64)
    share = position - below
    step = min(seconds, _LONGEST_S)
    np.add.at(counts, (rows, columns, below % bins), step * (1.0 - share))
    np.add.at(counts, (rows, columns, (below + 1) % bins), step * share)


def log_density(counts: Counts) -> NDArray[np.float32]:
    """The table of a head of kind ``place``.

    Args:
        counts: float64, rows x columns x bins, seconds.

    Returns:
        float32 of the same shape: ln of the density of directions at each place, uniform = 1.
    """
    sigma = SIGMA_HEIGHTS * counts.shape[0]
    bins = counts.shape[2]
    pooled = gaussian_filter(
        counts, (sigma, sigma, SIGMA_TURNS * bins), mode=("reflect", "reflect", "wrap")
    )
    total = pooled.sum(axis=2, keepdims=True)
    density = (bins * pooled + PRIOR_COUNTS) / (total + PRIOR_COUNTS)
    return np.asarray(np.log(density), dtype=np.float32)


def head_arrays(counts: Sequence[Counts]) -> dict[str, NDArray[np.generic]]:
    """Arrays of a head of kind ``place`` fitted on all these counts; float16.

    Raises:
        DataError: There are none.
    """
    if not counts:
        raise DataError("there is no footage to count directions in")
    table = log_density(np.sum(counts, axis=0))
    return {"log_density": table.astype(np.float16)}


def heads_without(stretches: Sequence[Directions]) -> dict[int, dict[str, NDArray[np.generic]]]:
    """By fold: head arrays of all stretches that are not in it.

    Raises:
        DataError: All stretches are of one fold.
    """
    folds = sorted({one.fold for one in stretches})
    if len(folds) < 2:
        raise DataError("energies out of sample need stretches of two folds at least")
    return {
        fold: head_arrays([one.counts for one in stretches if one.fold != fold]) for fold in folds
    }


def cross_energies(
    stretches: Sequence[Directions], without: Mapping[int, Mapping[str, NDArray[np.generic]]]
) -> list[NDArray[np.float64]]:
    """Energies of every stretch's features under the table without its fold.

    Args:
        stretches: What was seen.
        without: Of `heads_without`.

    Returns:
        One float64 (N,) a stretch, in nats.
    """
    heads = {fold: PlaceHead(**arrays) for fold, arrays in without.items()}
    return [heads[one.fold].energy(one.features) for one in stretches]
