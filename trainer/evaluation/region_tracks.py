"""Ground-truth regions of masks, and their tracks, where a data set has masks but no tracks.

A region is an 8-connected component of a frame's mask. Regions of two neighbouring frames that
overlap belong together, one to one, largest overlap first: where blobs merge, the larger one's
track goes on and the other ends; where one splits, the larger part keeps the track.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Regions:
    """The ground-truth regions of one frame.

    Attributes:
        boxes: float64, G x 4: left, top, right, bottom in mask pixels, right and bottom exclusive.
        tracks: int64, G: number of each one's track.
    """

    boxes: NDArray[np.float64]
    tracks: NDArray[np.int64]


NO_REGIONS = Regions(np.empty((0, 4)), np.empty(0, dtype=np.int64))


class TrackLinker:
    """Takes a clip's masks in order and numbers the tracks, on over all clips."""

    def __init__(self) -> None:
        self.sizes: list[int] = []  # regions of each track
        self._labels: NDArray[np.int32] | None = None
        self._tracks = NO_REGIONS.tracks

    def cut(self) -> None:
        """The next mask belongs to another clip."""
        self._labels = None

    def link(self, mask: NDArray[np.bool_] | None) -> Regions:
        """Regions of the next frame: mask bool h x w, None for a normal frame."""
        if mask is None or not mask.any():
            self.cut()
            return NO_REGIONS
        labels, boxes = connected_boxes(mask)
        tracks = self._continued(labels, len(boxes))
        for region in np.flatnonzero(tracks < 0):
            tracks[region] = len(self.sizes)
            self.sizes.append(0)
        for track in tracks.tolist():
            self.sizes[track] += 1
        self._labels, self._tracks = labels, tracks
        return Regions(boxes.astype(np.float64), tracks)

    def _continued(self, labels: NDArray[np.int32], regions: int) -> NDArray[np.int64]:
        """Track of each region that continues one of the frame before, else -1."""
        tracks = np.full(regions, -1, dtype=np.int64)
        before = self._labels
        if before is None or before.shape != labels.shape:
            return tracks
        both = (before > 0) & (labels > 0)
        pairs = (before[both].astype(np.int64) - 1) * regions + labels[both] - 1
        overlap = np.bincount(pairs, minlength=1)
        taken: set[int] = set()
        for pair in np.argsort(-overlap, kind="stable").tolist():
            if overlap[pair] == 0:
                break
            old, new = divmod(pair, regions)
            if old not in taken and tracks[new] < 0:
                taken.add(old)
                tracks[new] = self._tracks[old]
        return tracks


def connected_boxes(cells: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """8-connected components: labels (int32, h x w, 0 outside) and boxes (int32, G x 4).

    Boxes are left, top, right, bottom, the last two exclusive; box g belongs to label g + 1.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        cells.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    boxes = stats[1:, :4].astype(np.int32)
    boxes[:, 2:] += boxes[:, :2]
    return np.asarray(labels, dtype=np.int32), boxes
