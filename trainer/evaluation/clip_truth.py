"""Ground truth of one clip while it is streamed: masks in step with its frames, and labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.datasets.clip import Clip


class MaskReader:
    """Walks a clip's masks in step with its frames, over unreadable frames too."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._masks = clip.masks()
        self._next = 0
        self.ended = False

    def at(self, index: int) -> NDArray[np.bool_] | None:
        """Mask of frame `index`, None if it has no anomalous pixel or lies beyond the last mask.

        Indices must rise.
        """
        if self._masks is None:
            return None
        mask: NDArray[np.bool_] | None = None
        while self._next <= index and not self.ended:
            try:
                mask = next(self._masks)
            except StopIteration:
                self.ended, mask = True, None
            self._next += 1
        return mask if mask is not None and mask.any() else None


def labels_of(clip: Clip, frames: int) -> NDArray[np.bool_] | None:
    """Anomalous frames of a clip of which `frames` could be decoded: bool; None if unknown.

    Raises:
        DataError: The ground truth does not fit the frames.
    """
    try:
        return clip.frame_labels(frames)
    except DataError:
        # A truncated video gives fewer frames than its header and its ground truth count.
        if clip.frame_count is None or clip.frame_count <= frames:
            raise
        return clip.frame_labels(clip.frame_count)


def label_at(clip: Clip, index: int, mask: NDArray[np.bool_] | None) -> bool | None:
    """Whether frame `index` with this mask is anomalous; None if unknown."""
    if clip.labels is not None:
        return any(start <= index < end for start, end in clip.labels)
    return mask is not None if clip.has_masks else None
