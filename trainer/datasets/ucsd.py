"""UCSD Ped1 and Ped2 (Mahadevan et al., CVPR 2010), official layout.

    Train/Train001/001.tif ..           Test/Test001/001.tif ..
    Test/Test001_gt/001.bmp ..          Test/UCSDped1.m or UCSDped2.m

Copies with .jpg or .png frames and .png masks are the same to this reader.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edge.capture.images import read_image, visible_entries
from engines.errors import DataError
from trainer.datasets.clip import Clip, Dataset
from trainer.datasets.discover import clip_from_path, require_count, without_single_frames
from trainer.datasets.masks import ImageMasks

UCSD_FPS = 10.0

_GT_LIST = re.compile(r"gt_frame\s*=\s*\[([^\]]*)\]")
_RUN = re.compile(r"(\d+)(?::(\d+))?")
# The one frame that is damaged in the public archive of Ped1; `Clip.open` repeats the one before.
_DAMAGED = ("Test017", "142")


def is_ucsd(root: Path) -> bool:
    """Whether `root` has Train/Train001 or Test/Test001 (any number) in it."""
    return bool(_clip_folders(root, "Train") or _clip_folders(root, "Test"))


def read_ucsd(root: Path, fps: float | None) -> Dataset:
    """Read the layout; see `trainer.datasets.open_dataset`.

    Raises:
        InputMissingError: A clip's folder is empty.
        DataError: The frame list has another number of clips, or masks another number of frames.
    """
    train = without_single_frames(
        [
            clip_from_path(folder, scene=root.name, fps=fps, folder_fps=UCSD_FPS)
            for folder in _clip_folders(root, "Train")
        ]
    )
    folders = _clip_folders(root, "Test")
    frame_list = _frame_list(root / "Test")
    runs = _runs_by_clip(frame_list, len(folders)) if frame_list else [None] * len(folders)
    labelled = [
        _test_clip(folder, labels, root.name, fps)
        for folder, labels in zip(folders, runs, strict=True)
    ]
    test = without_single_frames(labelled)
    return Dataset(
        name=_set_name(root, frame_list),
        layout="ucsd",
        root=root,
        train=train.clips,
        test=test.clips,
        label_source=(
            f"frame list {frame_list.name}"
            if frame_list
            else "masks: a frame is anomalous where any mask pixel is set"
        ),
        notes=train.notes + test.notes + _damage_notes(folders) + _unlabelled_notes(test.clips),
    )


def parse_frame_list(text: str) -> list[tuple[tuple[int, int], ...]]:
    """Parse the MATLAB list `TestVideoFile{end+1}.gt_frame = [a:b, c:d];`, one line for each clip.

    The list counts from 1 and includes both ends; the result counts from 0 and is half-open.

    Raises:
        ValueError: A run is not of the form a:b with 1 <= a <= b.

    >>> parse_frame_list("TestVideoFile{end+1}.gt_frame = [5:90, 140:200];")
    [((4, 90), (139, 200))]
    """
    code = "\n".join(line.split("%", 1)[0] for line in text.splitlines())
    clips = []
    for body in _GT_LIST.findall(code):
        runs = []
        for word in re.split(r"[,;\s]+", re.sub(r"\s*:\s*", ":", body).strip()):
            if not word:
                continue
            match = _RUN.fullmatch(word)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= first <= last:
                raise ValueError(word)
            runs.append((first - 1, last))
        clips.append(tuple(runs))
    return clips


def _clip_folders(root: Path, part: str) -> list[Path]:
    if not (root / part).is_dir():
        return []
    name = re.compile(rf"{part}\d+")
    return [
        path for path in visible_entries(root / part) if path.is_dir() and name.fullmatch(path.name)
    ]


def _frame_list(test: Path) -> Path | None:
    lists = [path for path in visible_entries(test) if path.suffix == ".m"] if test.exists() else []
    if len(lists) > 1:
        raise DataError(
            f"Several frame lists: {', '.join(path.name for path in lists)}", where=str(test)
        )
    return lists[0] if lists else None


def _runs_by_clip(path: Path, clips: int) -> list[tuple[tuple[int, int], ...] | None]:
    try:
        runs = parse_frame_list(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError as error:
        raise DataError(f"{error} is no run of frames (a:b, from 1)", where=str(path)) from error
    if len(runs) != clips:
        raise DataError(
            f"The frame list names {len(runs)} clips, there are {clips} test clips",
            where=str(path),
        )
    return list(runs)


def _test_clip(
    folder: Path, labels: tuple[tuple[int, int], ...] | None, scene: str, fps: float | None
) -> Clip:
    clip = clip_from_path(folder, scene=scene, fps=fps, folder_fps=UCSD_FPS)
    truth = folder.with_name(f"{folder.name}_gt")
    masks = ImageMasks(truth) if truth.is_dir() else None
    if masks is not None:
        require_count(clip, masks.count(), masks.where)
    if labels and clip.frame_count is not None and labels[-1][1] > clip.frame_count:
        raise DataError(
            f"The frame list reaches to frame {labels[-1][1]}, "
            f"the clip has {clip.frame_count} frames",
            where=str(folder),
        )
    return replace(clip, labels=labels, mask_source=masks)


def _set_name(root: Path, frame_list: Path | None) -> str:
    hint = f"{frame_list.name if frame_list else ''} {root.resolve().name}".lower()
    return next((f"UCSD Ped{n}" for n in "12" if f"ped{n}" in hint), "UCSD")


def _damage_notes(folders: list[Path]) -> tuple[str, ...]:
    clip, stem = _DAMAGED
    return tuple(
        f"frame {clip}/{path.name} is damaged: the frame before it is repeated"
        for folder in folders
        if folder.name == clip
        for path in folder.glob(f"{stem}.*")
        if read_image(path) is None
    )


def _unlabelled_notes(clips: tuple[Clip, ...]) -> tuple[str, ...]:
    """Say how many test clips lack labels or masks (Ped1 has masks for 10 of 36 clips)."""
    notes = []
    unlabelled = sum(not clip.has_labels for clip in clips)
    if unlabelled:
        notes.append(f"{unlabelled} of {len(clips)} test clips have no frame labels")
    unmasked = sum(not clip.has_masks for clip in clips)
    if unmasked:
        notes.append(f"{unmasked} of {len(clips)} test clips have no masks")
    return tuple(notes)
