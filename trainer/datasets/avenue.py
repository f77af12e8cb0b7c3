"""CUHK Avenue (Lu et al., ICCV 2013), official layout.

training_videos/01.avi ..           testing_videos/01.avi ..
ground_truth_demo/testing_label_mask/1_label.mat ..   (no leading zero; volLabel)
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from trainer.datasets.clip import Clip, Dataset
from trainer.datasets.discover import Found, find_clips
from trainer.datasets.masks import MatMasks

# Decoders differ from the labels by a few frames; more than that is another video.
AVENUE_COUNT_SLACK = 10
_MASK_FOLDERS = (
    "ground_truth_demo/testing_label_mask",
    "testing_label_mask",
    "../ground_truth_demo/testing_label_mask",
)


def is_avenue(root: Path) -> bool:
    """Whether `root` has training_videos or testing_videos in it."""
    return (root / "training_videos").is_dir() or (root / "testing_videos").is_dir()


def read_avenue(root: Path, fps: float | None) -> Dataset:
    """Read the layout; see `trainer.datasets.open_dataset`.

    Raises:
        InputMissingError: A part is there but empty.
        DataError: A video cannot be opened.
    """
    train, test = (_part(root, part, fps) for part in ("training_videos", "testing_videos"))
    folder = next((root / name for name in _MASK_FOLDERS if (root / name).is_dir()), None)
    clips = tuple(_with_masks(clip, folder) for clip in test.clips)
    unmasked = sum(not clip.has_masks for clip in clips)
    missing = f"{unmasked} of {len(clips)} test clips have no ground truth"
    return Dataset(
        name="CUHK Avenue",
        layout="avenue",
        root=root,
        train=train.clips,
        test=clips,
        label_source="masks (volLabel): a frame is anomalous where any mask pixel is set",
        notes=train.notes + test.notes + ((missing,) if unmasked else ()),
    )


def _part(root: Path, part: str, fps: float | None) -> Found:
    folder = root / part
    return find_clips(folder, scene=root.name, fps=fps) if folder.is_dir() else Found(())


def _with_masks(clip: Clip, folder: Path | None) -> Clip:
    """Attach `N_label.mat`, N the number in the clip's name without leading zeros."""
    number = re.search(r"\d+", clip.name)
    if folder is None or number is None:
        return clip
    path = folder / f"{int(number[0])}_label.mat"
    if not path.is_file():
        return clip
    return replace(clip, mask_source=MatMasks(path), count_slack=AVENUE_COUNT_SLACK)
