"""The layouts that are known, as a table, and the two functions that open any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from edge.capture.images import visible_entries
from edge.capture.timing import checked_fps
from engines.errors import DataError, InputMissingError, UsageError
from trainer.datasets.avenue import is_avenue, read_avenue
from trainer.datasets.clip import Clip, Dataset
from trainer.datasets.discover import (
    Found,
    clip_from_path,
    find_clips,
    holds_images,
    without_single_frames,
)
from trainer.datasets.plain_folders import is_plain_folders, read_plain_folders
from trainer.datasets.shanghaitech import is_shanghaitech, read_shanghaitech
from trainer.datasets.ucsd import is_ucsd, read_ucsd


@dataclass(frozen=True)
class Layout:
    """One data set's way to lie on disk.

    Attributes:
        name: As given to `--layout`.
        recognises: Whether a folder is of this layout, by its folder names alone.
        read: Reads it (root, frames per second or None).
        expects: What it looks like, for messages.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, float | None], Dataset]
    expects: str


# Order matters where file systems ignore case: Test/ of UCSD is test/ of plain folders there.
LAYOUTS = (
    Layout("ucsd", is_ucsd, read_ucsd, "Train/Train001/, Test/Test001/"),
    Layout("avenue", is_avenue, read_avenue, "training_videos/, testing_videos/"),
    Layout("shanghaitech", is_shanghaitech, read_shanghaitech, "training/videos/, testing/frames/"),
    Layout("folders", is_plain_folders, read_plain_folders, "normal/, test/"),
)


def layout_names() -> tuple[str, ...]:
    """Names for `--layout`."""
    return tuple(layout.name for layout in LAYOUTS)


def open_dataset(root: Path, *, layout: str | None = None, fps: float | None = None) -> Dataset:
    """Open a data set; the layout is recognised by its folders unless named.

    An archive's outer folder will do where it holds one data set.

    Args:
        root: Folder of the data set.
        layout: One of `layout_names()`; None = recognise.
        fps: Frames per second of every clip; overrides what videos and layouts say.

    Raises:
        UsageError: `layout` is not known, or `fps` is no rate.
        InputMissingError: The folder is missing or empty, or has no clip of two frames or more.
        DataError: No layout fits, or the data set is inconsistent (what and where is named).
    """
    root = Path(root)
    checked_fps(fps)
    entries = visible_entries(root)
    if not entries:
        raise InputMissingError("The folder is empty", where=str(root))
    chosen, folder = _chosen(root, layout)
    dataset = chosen.read(folder, fps)
    if not dataset.train and not dataset.test:
        raise InputMissingError(
            "The data set has no clip with two frames or more",
            where=str(folder),
            mend="; ".join(dataset.notes) or f"layout {chosen.name} expects {chosen.expects}",
        )
    return dataset


def open_normal(root: Path, *, fps: float | None = None) -> tuple[Clip, ...]:
    """Normal clips from whatever is given: a data set's training part, a folder of clips, one clip.

    Args:
        root: Data set of any layout, folder of videos and picture folders, folder of pictures, or
            video file.
        fps: Frames per second of every clip; overrides what videos and layouts say.

    Raises:
        InputMissingError: Nothing is there, or no clip has two frames or more.
        DataError: Something there cannot be read (what and where is named).
    """
    root = Path(root)
    found = _find_normal(root, fps)
    for note in found.notes:
        structlog.get_logger().warning("dataset_note", root=str(root), note=note)
    if not found.clips:
        raise InputMissingError(
            "There is no normal clip with two frames or more",
            where=str(root),
            mend="; ".join(found.notes) or None,
        )
    return found.clips


def _find_normal(root: Path, fps: float | None) -> Found:
    if root.is_dir() and not holds_images(root):
        recognised = _recognise(root, LAYOUTS)
        if recognised is None:
            return find_clips(root, scene=root.resolve().name, fps=fps)
        layout, folder = recognised
        dataset = layout.read(folder, fps)
        return Found(dataset.train, dataset.notes)
    return without_single_frames([clip_from_path(root, scene=root.resolve().name, fps=fps)])


def _chosen(root: Path, name: str | None) -> tuple[Layout, Path]:
    """The layout to read and the folder it starts in."""
    layouts = tuple(layout for layout in LAYOUTS if name in (None, layout.name))
    if not layouts:
        raise UsageError(
            f"There is no layout {name!r}", mend=f"choose one of {', '.join(layout_names())}"
        )
    recognised = _recognise(root, layouts)
    if recognised is None:
        expected = "; ".join(f"{layout.name}: {layout.expects}" for layout in layouts)
        raise DataError(
            "The folder has the layout of no data set that is known",
            where=str(root),
            mend=f"expected one of: {expected}",
        )
    return recognised


def _recognise(root: Path, layouts: tuple[Layout, ...]) -> tuple[Layout, Path] | None:
    """The first layout that fits `root`, or that fits the one data set directly inside it."""
    inner = [path for path in visible_entries(root) if path.is_dir()]
    for folders in ([root], inner):
        hits = [
            (next(layout for layout in layouts if layout.recognises(folder)), folder)
            for folder in folders
            if any(layout.recognises(folder) for layout in layouts)
        ]
        if len(hits) > 1:
            raise DataError(
                f"Several data sets are here: {', '.join(folder.name for _, folder in hits)}",
                where=str(root),
                mend="name one of them",
            )
        if hits:
            return hits[0]
    return None
