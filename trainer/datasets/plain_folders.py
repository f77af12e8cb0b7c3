"""Plain folders, for footage of one's own.

normal/   videos or folders of pictures: normal life to learn from
test/     the same: clips to test on
masks/    optional: for test/x.avi or test/x/ the folder masks/x/, one picture for each frame,
          non-zero = anomalous
labels.csv  optional: columns clip, first, last; one row for each anomalous run of frames, counted
          from 0, both ends inside; clips of test/ that it does not list are normal, a row with
          empty first and last lists a clip as normal
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edge.capture.images import visible_entries
from engines.errors import DataError
from trainer.datasets.clip import Clip, Dataset
from trainer.datasets.discover import Found, find_clips, require_count
from trainer.datasets.masks import ImageMasks

_COLUMNS = ("clip", "first", "last")


def is_plain_folders(root: Path) -> bool:
    """Whether `root` has normal or test in it."""
    return (root / "normal").is_dir() or (root / "test").is_dir()


def read_plain_folders(root: Path, fps: float | None) -> Dataset:
    """Read the layout; see `trainer.datasets.open_dataset`.

    Raises:
        InputMissingError: normal/ or test/ is there but empty.
        DataError: A video cannot be opened, masks have another number of frames than their clip,
            labels.csv is wrong (with the line).
    """
    train, test = (
        find_clips(root / part, scene=root.name, fps=fps) if (root / part).is_dir() else Found(())
        for part in ("normal", "test")
    )
    clips = tuple(_with_masks(clip, root / "masks") for clip in test.clips)
    table = root / "labels.csv"
    if table.is_file():
        skipped = (
            {path.stem for path in visible_entries(root / "test")}
            if (root / "test").is_dir()
            else set()
        )
        runs = read_label_table(table, clips, also_known=skipped)
        clips = tuple(replace(clip, labels=runs.get(clip.name, ())) for clip in clips)
    return Dataset(
        name=root.resolve().name,
        layout="folders",
        root=root,
        train=train.clips,
        test=clips,
        label_source=(
            "labels.csv"
            if table.is_file()
            else "masks: a frame is anomalous where any mask pixel is set"
        ),
        notes=train.notes + test.notes + _truth_notes(root / "masks", clips),
    )


def read_label_table(
    path: Path, clips: tuple[Clip, ...], *, also_known: set[str] | frozenset[str] = frozenset()
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Read labels.csv to runs by clip name, 0-based half-open, sorted.

    Args:
        path: The file.
        clips: The test clips that it may name, by clip name or file name.
        also_known: Names that it may also hold (clips that were left out).

    Raises:
        DataError: A column is missing, a clip unknown, a run impossible; the line is named.
    """
    known = {name: clip for clip in clips for name in (clip.name, clip.path.name)}
    runs: dict[str, list[tuple[int, int]]] = {}
    for where, (name, first, last) in _rows(path):
        clip = known.get(name)
        if clip is not None:
            runs.setdefault(clip.name, []).extend(_run(first, last, clip, where))
        elif Path(name).stem not in also_known:
            raise DataError(f"There is no test clip {name!r}", where=where)
    return {name: tuple(sorted(clip_runs)) for name, clip_runs in runs.items()}


def _rows(path: Path) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Each row as its place (`file:line`) and the texts of clip, first and last."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            if not set(_COLUMNS) <= set(header):
                raise DataError(
                    f"The columns are {', '.join(header) or 'none'}; "
                    "clip, first, last are expected",
                    where=f"{path}:1",
                )
            reader.fieldnames = header
            for row in reader:
                clip, first, last = ((row[column] or "").strip() for column in _COLUMNS)
                yield f"{path}:{reader.line_num}", (clip, first, last)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"This is no UTF-8 table: {error}", where=str(path)) from error


def _run(first: str, last: str, clip: Clip, where: str) -> list[tuple[int, int]]:
    """One row as a list of no run or one."""
    if not first and not last:
        return []
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise DataError(
            f"first {first!r}, last {last!r} is no run of frames",
            where=where,
            mend="count from 0, both ends inside, first not after last",
        )
    if clip.path.is_dir() and clip.frame_count is not None and int(last) >= clip.frame_count:
        raise DataError(
            f"Frame {last} is beyond the end: {clip.name} has {clip.frame_count} frames",
            where=where,
            mend=f"count from 0; the last frame is {clip.frame_count - 1}",
        )
    return [(int(first), int(last) + 1)]


def _with_masks(clip: Clip, folder: Path) -> Clip:
    for name in (clip.name, clip.path.name):
        if (folder / name).is_dir():
            masks = ImageMasks(folder / name)
            require_count(clip, masks.count(), masks.where)
            return replace(clip, mask_source=masks)
    return clip


def _truth_notes(folder: Path, clips: tuple[Clip, ...]) -> tuple[str, ...]:
    notes = []
    unlabelled = [clip.name for clip in clips if not clip.has_labels]
    if unlabelled:
        notes.append(
            f"{len(unlabelled)} of {len(clips)} test clips have no labels: {', '.join(unlabelled)}"
        )
    names = {name for clip in clips for name in (clip.name, clip.path.name)}
    stray = (
        [p.name for p in visible_entries(folder) if p.name not in names] if folder.is_dir() else []
    )
    if stray:
        notes.append(f"{len(stray)} entries of masks belong to no test clip: {', '.join(stray)}")
    return tuple(notes)
