"""Region- and track-based detection criteria (Ramachandra and Jones 2020; Georgescu et al. 2021).

Method section 5. At a threshold, predicted regions are 8-connected groups of detected cells. A
ground-truth region is found if the boxes' intersection over union with a prediction is at least
0.1; a prediction that matches no ground-truth region is a false positive; a track is found if at
least a tenth of its regions are. The criteria are the areas under the rate of regions (RBDC) and
tracks (TBDC) found against false positives per frame, from 0 to 1.

Ours: groups grow together as the threshold falls, so the false-positive rate is not monotone. The
curve at rate f is therefore the best found rate over all thresholds with at most f false positives
per frame, a step function without interpolation (it never says more than was reached). Thresholds
are all map values where those are few, else `levels` of them, dense where values are high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.evaluation.region_tracks import Regions, TrackLinker, connected_boxes

MIN_OVERLAP = 0.1  # intersection over union of boxes
TRACK_SHARE = 10  # one region in so many finds the track


@dataclass(frozen=True)
class RegionCurve:
    """Counts at each threshold and the two areas.

    Attributes:
        thresholds: float64, L, falling; cells with value >= threshold are detected.
        false_positives: float64, L, false positives per frame of the test set.
        regions_found: float64, L, share of ground-truth regions; None if there are none.
        tracks_found: float64, L, share of tracks; None if there are none.
        regions: Ground-truth regions.
        tracks: Tracks.
        frames: Frames of the test set.
    """

    thresholds: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    regions_found: NDArray[np.float64] | None
    tracks_found: NDArray[np.float64] | None
    regions: int
    tracks: int
    frames: int

    @property
    def rbdc(self) -> float | None:
        """Region-based detection criterion, 0 .. 1; None without ground-truth regions."""
        if self.regions_found is None:
            return None
        return area_to_one(self.false_positives, self.regions_found)

    @property
    def tbdc(self) -> float | None:
        """Track-based detection criterion, 0 .. 1; None without ground-truth regions."""
        if self.tracks_found is None:
            return None
        return area_to_one(self.false_positives, self.tracks_found)


@dataclass(frozen=True)
class _Frame:
    scores: NDArray[np.float32]
    size: tuple[int, int]
    truth: Regions


class RegionMetrics:
    """Takes the frames of all clips in order; keeps maps and boxes, not masks.

    Args:
        levels: Most thresholds that are tried.
    """

    def __init__(self, levels: int = 256) -> None:
        self._levels = levels
        self._frames: list[_Frame] = []
        self._linker = TrackLinker()

    def begin_clip(self) -> None:
        """The next frame belongs to another clip; no track goes across."""
        self._linker.cut()

    def add(self, scores: NDArray[np.floating], mask: NDArray[np.bool_] | None) -> None:
        """Take a frame: map R x C, mask bool h x w or None where normal.

        Raises:
            DataError: The map is not R x C finite numbers.
        """
        kept = np.array(scores, dtype=np.float32)
        if kept.ndim != 2 or not kept.size or not np.isfinite(kept).all():
            raise DataError(f"a score map must be R x C finite numbers, found shape {kept.shape}")
        size = (kept.shape[0], kept.shape[1]) if mask is None else (mask.shape[0], mask.shape[1])
        self._frames.append(_Frame(kept, size, self._linker.link(mask)))

    def result(self) -> RegionCurve:
        """Sweep the thresholds.

        Raises:
            DataError: No frame was added.
        """
        if not self._frames:
            raise DataError("region metrics need at least one frame")
        thresholds = self._thresholds()
        sizes = np.array(self._linker.sizes, dtype=np.int64)
        false = np.zeros(thresholds.size, dtype=np.int64)
        found = np.zeros((sizes.size, thresholds.size), dtype=np.int64)
        for frame in self._frames:
            _sweep(frame, thresholds, false, found)
        regions = int(sizes.sum())
        tracks_found = (TRACK_SHARE * found >= sizes[:, None]).sum(axis=0)
        return RegionCurve(
            thresholds=thresholds.astype(np.float64),
            false_positives=false / len(self._frames),
            regions_found=found.sum(axis=0) / regions if regions else None,
            tracks_found=tracks_found / sizes.size if regions else None,
            regions=regions,
            tracks=sizes.size,
            frames=len(self._frames),
        )

    def _thresholds(self) -> NDArray[np.float32]:
        """Falling map values: all of them, or at ranks in geometric progression from the top."""
        values = np.concatenate([frame.scores.ravel() for frame in self._frames])
        distinct = np.unique(values)[::-1]
        if distinct.size <= self._levels:
            return distinct
        ordered = np.sort(values)[::-1]
        ranks = np.geomspace(1, ordered.size, self._levels).astype(np.int64) - 1
        return np.unique(ordered[ranks])[::-1]


def _sweep(
    frame: _Frame,
    thresholds: NDArray[np.float32],
    false: NDArray[np.int64],
    found: NDArray[np.int64],
) -> None:
    """Add one frame's false positives (L) and found regions (tracks x L) at every threshold."""
    # Index of the highest threshold at which each cell is detected; L where at none.
    entry = thresholds.size - np.searchsorted(thresholds[::-1], frame.scores, side="right")
    steps = np.unique(entry)
    steps = steps[steps < thresholds.size]
    ends = np.append(steps[1:], thresholds.size)
    for begin, end in zip(steps.tolist(), ends.tolist(), strict=True):
        _, cells = connected_boxes(entry <= begin)
        if not len(frame.truth.boxes):
            false[begin:end] += len(cells)
            continue
        boxes = pixel_boxes(cells, frame.scores.shape, frame.size)
        match = box_overlap(boxes, frame.truth.boxes) >= MIN_OVERLAP
        false[begin:end] += int((~match.any(axis=1)).sum())
        for track in frame.truth.tracks[match.any(axis=0)].tolist():
            found[track, begin:end] += 1


def pixel_boxes(
    cells: NDArray[np.int32], grid: tuple[int, ...], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Boxes in cells (G x 4: left, top, right, bottom) as the boxes of the pixels they cover.

    Pixel (r, c) of h x w takes cell (floor(R r / h), floor(C c / w)), so cell k begins at pixel
    ceil(k h / R).
    """
    (rows, columns), (height, width) = grid, size
    factor = np.array([width, height, width, height])
    divisor = np.array([columns, rows, columns, rows])
    return np.asarray(-(-cells.astype(np.int64) * factor // divisor), dtype=np.float64)


def box_overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes A x 4 and B x 4 (left, top, right, bottom): A x B."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.maximum(corner, 0.0), axis=2)
    area_a, area_b = (np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0))


def area_to_one(rates: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Area from 0 to 1 under the best `found` reached with at most so high a rate."""
    order = np.lexsort((-found, rates))
    rates, best = rates[order], np.maximum.accumulate(found[order])
    inside = rates <= 1.0
    edges = np.append(rates[inside], 1.0)
    return float(np.sum(np.diff(edges) * best[inside]))
