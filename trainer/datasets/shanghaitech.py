"""ShanghaiTech Campus (Luo et al., ICCV 2017), official layout.

    training/videos/01_001.avi ..       testing/frames/01_0014/000.jpg ..
    testing/test_frame_mask/01_0014.npy (one value a frame)
    testing/test_pixel_mask/01_0014.npy (frames x h x w)

The part of a clip's name before "_" is its scene (13 of them): one calibration for each.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.datasets.clip import Clip, Dataset
from trainer.datasets.discover import Found, find_clips, require_count
from trainer.datasets.masks import ArrayMasks, load_array

SHANGHAITECH_FPS = 24.0


def is_shanghaitech(root: Path) -> bool:
    """Whether `root` has training/videos, training/frames or testing/frames in it."""
    return any(
        (root / part).is_dir() for part in ("training/videos", "training/frames", "testing/frames")
    )


def read_shanghaitech(root: Path, fps: float | None) -> Dataset:
    """Read the layout; see `trainer.datasets.open_dataset`.

    Raises:
        InputMissingError: A part is there but empty.
        DataError: Ground truth is unreadable or has another number of frames than its clip.
    """
    videos = root / "training/videos"
    train = _part(videos if videos.is_dir() else root / "training/frames", fps)
    test = _part(root / "testing/frames", fps)
    clips = tuple(_with_truth(clip, root / "testing") for clip in test.clips)
    unlabelled = sum(not clip.has_labels for clip in clips)
    missing = f"{unlabelled} of {len(clips)} test clips have no ground truth"
    return Dataset(
        name="ShanghaiTech Campus",
        layout="shanghaitech",
        root=root,
        train=train.clips,
        test=clips,
        label_source="test_frame_mask (frame labels)",
        notes=train.notes + test.notes + ((missing,) if unlabelled else ()),
    )


def runs_from_flags(flags: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Runs of True in a bool (n,), 0-based half-open.

    >>> runs_from_flags(np.array([True, False, True, True]))
    ((0, 1), (2, 4))
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return tuple((int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True))


def _part(folder: Path, fps: float | None) -> Found:
    if not folder.is_dir():
        return Found(())
    found = find_clips(folder, scene="", fps=fps, folder_fps=SHANGHAITECH_FPS)
    clips = tuple(replace(clip, scene=clip.name.partition("_")[0]) for clip in found.clips)
    return Found(clips, found.notes)


def _with_truth(clip: Clip, testing: Path) -> Clip:
    frame_file = testing / "test_frame_mask" / f"{clip.name}.npy"
    pixel_file = testing / "test_pixel_mask" / f"{clip.name}.npy"
    if pixel_file.is_file():
        masks = ArrayMasks(pixel_file)
        require_count(clip, masks.count(), masks.where)
        clip = replace(clip, mask_source=masks)
    if frame_file.is_file():
        flags = np.asarray(load_array(frame_file)).squeeze() != 0
        if flags.ndim != 1:
            raise DataError("One label for each frame is expected", where=str(frame_file))
        require_count(clip, flags.size, str(frame_file))
        clip = replace(clip, labels=runs_from_flags(flags), label_count=flags.size)
    return clip
