"""A clip, and a data set as two tuples of clips: what training and evaluation see of any layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.capture.folder import FolderSource
from edge.capture.source import Source
from edge.capture.video import VideoSource
from engines.errors import DataError, InputMissingError
from trainer.datasets.masks import MaskSource


@dataclass(frozen=True)
class Clip:
    """One continuous recording of one camera.

    Attributes:
        name: Name within its data set, also in reports.
        path: Folder of pictures or video file.
        fps: Frames per second.
        scene: Camera view; clips of one scene share a calibration.
        labels: Anomalous runs of frames, 0-based half-open [a, b); () = wholly normal by the data
            set's own list; None = no list (masks may still tell).
        label_count: Number of frames the list covers where it says so (ShanghaiTech).
        mask_source: Ground-truth masks, None without.
        frame_count: Number of frames: pictures in the folder, or the video header's count.
        count_slack: Frames by which labels and decoded frames may differ; then the common part at
            the start counts (Avenue, whose decoders differ from its labels by a few).
    """

    name: str
    path: Path
    fps: float
    scene: str
    labels: tuple[tuple[int, int], ...] | None = None
    label_count: int | None = None
    mask_source: MaskSource | None = None
    frame_count: int | None = None
    count_slack: int = 0

    @property
    def has_masks(self) -> bool:
        """Whether pixel ground truth exists."""
        return self.mask_source is not None

    @property
    def has_labels(self) -> bool:
        """Whether it is known which frames are anomalous."""
        return self.labels is not None or self.has_masks

    def open(self) -> Source:
        """The clip's frames (enter it with `with`).

        An unreadable picture is replaced by the one before it, so that frames and labels keep
        their counts; the source's `skipped` counts them.
        """
        if self.path.is_dir():
            return FolderSource(self.path, fps=self.fps, repeat_unreadable=True)
        return VideoSource(self.path, fps=self.fps)

    def masks(self) -> Iterator[NDArray[np.bool_] | None] | None:
        """One mask for each frame, bool h x w of the clip's own size; None if the clip has none.

        Raises (while iterating):
            DataError: A mask is unreadable or has another size than the frames; both are named.
        """
        if self.mask_source is None:
            return None
        return self._sized_masks(self.mask_source)

    def frame_labels(self, frames: int) -> NDArray[np.bool_] | None:
        """Which of the first `frames` frames are anomalous, or None if that is not known.

        Args:
            frames: Number of frames that the clip gave.

        Returns:
            bool, (n,) with n = `frames`; within `count_slack` n may be smaller, the common part.

        Raises:
            DataError: Labels and frames differ in number (both are named).
        """
        if self.labels is not None:
            known = self._counted(self.label_count or self._mask_count() or frames, frames)
            anomalous = np.zeros(known, np.bool_)
            for first, end in self.labels:
                if end > frames + self.count_slack:
                    raise DataError(
                        f"Labels reach to frame {end} (counted from 1), "
                        f"the clip has {frames} frames",
                        where=str(self.path),
                    )
                anomalous[first:end] = True
            return anomalous
        if self.mask_source is None:
            return None
        flags = [bool(mask.any()) for mask in self.mask_source]
        return np.array(flags[: self._counted(len(flags), frames)], np.bool_)

    def _mask_count(self) -> int | None:
        return None if self.mask_source is None else self.mask_source.count()

    def _counted(self, known: int, frames: int) -> int:
        """Length of the part that labels and frames share, if they agree well enough."""
        if abs(known - frames) > self.count_slack:
            where = "" if self.mask_source is None else f"; ground truth: {self.mask_source.where}"
            raise DataError(
                f"The clip has {frames} frames and {known} labels or masks",
                where=f"{self.path}{where}",
                mend="complete the clip or its ground truth; they must have the same count",
            )
        return min(known, frames)

    def _sized_masks(self, source: MaskSource) -> Iterator[NDArray[np.bool_]]:
        height, width = self._frame_size()
        for index, mask in enumerate(source):
            if mask.shape != (height, width):
                raise DataError(
                    f"Mask {index} is {mask.shape[1]}x{mask.shape[0]}, "
                    f"the frames are {width}x{height}",
                    where=f"{source.where} against {self.path}",
                    mend="masks must have the size of the frames",
                )
            yield mask

    def _frame_size(self) -> tuple[int, int]:
        """Height and width of the clip's pictures, from the first that can be read."""
        with self.open() as source:
            frame = next(iter(source))
        return frame.bgr.shape[0], frame.bgr.shape[1]


@dataclass(frozen=True)
class Dataset:
    """Clips of normal life to learn from, and clips to test on.

    Attributes:
        name: For reports.
        layout: "ucsd", "avenue", "shanghaitech" or "folders".
        root: The folder.
        train: Normal clips, in natural order; may be empty.
        test: Test clips, in natural order; may be empty.
        label_source: Where frame labels come from, in words, for reports.
        notes: What was left out or repaired, each with its count or name.
    """

    name: str
    layout: str
    root: Path
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]
    label_source: str
    notes: tuple[str, ...] = ()

    def require_train(self) -> tuple[Clip, ...]:
        """The training clips.

        Raises:
            InputMissingError: There are none.
        """
        if not self.train:
            raise InputMissingError(
                "The data set has no training clips with two frames or more", where=str(self.root)
            )
        return self.train

    def require_test(self) -> tuple[Clip, ...]:
        """The test clips.

        Raises:
            InputMissingError: There are none.
        """
        if not self.test:
            raise InputMissingError(
                "The data set has no test clips with two frames or more", where=str(self.root)
            )
        return self.test
