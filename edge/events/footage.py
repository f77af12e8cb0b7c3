"""How much normal footage of moving things stands behind each place of the picture."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# A floor this far below the fullest cell is what the first frames of clips leave everywhere.
_FLOOR_SHARE = 0.1


def first_looks(count: Counts) -> int:
    """Samples that every cell has because whole pictures were looked at, as a clip's first frame.

    A stream that looks at every cell while nothing is known of motion has one such sample per clip
    in all cells: they say nothing of movement. Where all cells have about the same count (no gate)
    they cannot be told apart, and the answer is 0.

    Args:
        count: int64, rows x columns: samples behind each cell of one stream.
    """
    if not count.size:
        return 0
    least, most = int(count.min()), int(count.max())
    return least if least < _FLOOR_SHARE * most else 0


def moving_samples(count: Counts) -> Counts:
    """Samples of each cell beyond the first looks; int64, rows x columns."""
    return count - first_looks(count)


def samples_around(counts: Iterable[Counts], x: float, y: float) -> int | None:
    """Samples of moving things in and around a place: its cell and the eight neighbours.

    Args:
        counts: `moving_samples` of each stream; whatever saw most there is believed.
        x: 0..1 of the picture's width.
        y: 0..1 of its height, from the top.

    Returns:
        The most of any stream, None without streams.
    """
    return max((_around(count, x, y) for count in counts), default=None)


def _around(count: Counts, x: float, y: float) -> int:
    rows, columns = count.shape
    row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
    near = count[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return int(near.sum())
