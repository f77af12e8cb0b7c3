"""Pixel-level criterion of UCSD (Mahadevan et al. 2010, Li et al. 2014) as one score per frame.

An anomalous frame counts as detected if at least 40 % of its ground-truth pixels lie in detected
cells, a normal frame as soon as any cell is detected. For one frame that is the same as comparing
one number with the threshold (method section 5), so an ordinary ROC of these numbers gives the
criterion at all thresholds at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

# 40 % as whole numbers: 0.4 * n in floating point is above the true value for some n.
_COVERED, _OF = 2, 5


def pixel_scores(scores: NDArray[np.floating], mask: NDArray[np.bool_] | None) -> float:
    """Score of one frame: detected at a threshold tau exactly if the result is > tau.

    With n ground-truth pixels: the ceil(0.4 n)-th largest map value over them. Without any: the
    maximum of the map.

    Args:
        scores: Map, R x C cells, finite.
        mask: bool, h x w in the clip's own resolution, True where anomalous; None for a normal
            frame. Pixel (r, c) takes cell (floor(R r / h), floor(C c / w)).

    Raises:
        DataError: The map or the mask is not two-dimensional, or a map value is not finite.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise DataError(f"a score map must be R x C finite numbers, found shape {scores.shape}")
    if mask is None:
        return float(scores.max())
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise DataError(f"a mask must be h x w bool, found {mask.dtype} {mask.shape}")
    pixels = cell_pixels(mask, scores.shape[0], scores.shape[1]).ravel()
    total = int(pixels.sum())
    if not total:
        return float(scores.max())
    needed = -(-_COVERED * total // _OF)
    order = np.argsort(-scores.ravel(), kind="stable")
    covered = np.cumsum(pixels[order])
    return float(scores.ravel()[order[int(np.argmax(covered >= needed))]])


def cell_pixels(mask: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.int64]:
    """How many True pixels of `mask` (bool, h x w) each cell of a rows x columns grid holds."""
    height, width = mask.shape
    r, c = np.nonzero(mask)
    cell = (rows * r // height) * columns + columns * c // width
    return np.bincount(cell, minlength=rows * columns).reshape(rows, columns)
