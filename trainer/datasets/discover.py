"""Finding clips: a video file or a folder of pictures is one clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.capture.folder import DEFAULT_FOLDER_FPS
from edge.capture.images import is_image, list_images, natural_key, visible_entries
from edge.capture.timing import checked_fps
from edge.capture.video import VIDEO_SUFFIXES, read_video_header
from engines.errors import DataError, InputMissingError
from trainer.datasets.clip import Clip


@dataclass(frozen=True)
class Found:
    """Clips of one folder, in natural order, and what was left out."""

    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()


def is_video(path: Path) -> bool:
    """Whether `path` is a file with the suffix of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def holds_images(folder: Path) -> bool:
    """Whether `folder` is a folder with at least one picture directly in it."""
    return folder.is_dir() and any(is_image(path) for path in folder.iterdir())


def clip_from_path(
    path: Path,
    *,
    scene: str,
    fps: float | None = None,
    folder_fps: float = DEFAULT_FOLDER_FPS,
) -> Clip:
    """Make a clip of a folder of pictures or a video file.

    Args:
        path: The folder or file; its name (without a video's suffix) becomes the clip's name.
        scene: Camera view.
        fps: Frames per second for either kind; overrides what a video says.
        folder_fps: Frames per second for pictures if `fps` is not given.

    Raises:
        InputMissingError: It is not there, or the folder holds no picture.
        DataError: It is no video that can be opened.
    """
    given = checked_fps(fps)
    if path.is_dir():
        return Clip(path.name, path, given or folder_fps, scene, frame_count=len(list_images(path)))
    header = read_video_header(path)
    return Clip(path.stem, path, given or header.fps, scene, frame_count=header.frame_count)


def find_clips(
    folder: Path,
    *,
    scene: str,
    fps: float | None = None,
    folder_fps: float = DEFAULT_FOLDER_FPS,
) -> Found:
    """All clips directly in `folder`: sub-folders of pictures and video files.

    Other files are ignored, as are hidden ones. See `clip_from_path` for the arguments.

    Raises:
        InputMissingError: The folder is not there or holds no clip; a clip's folder is empty.
        DataError: A video cannot be opened; two clips have the same name.
    """
    paths = [path for path in visible_entries(folder) if path.is_dir() or is_video(path)]
    if not paths:
        raise InputMissingError(
            "The folder holds no clips",
            where=str(folder),
            mend="put videos or folders of pictures there, one for each clip",
        )
    return without_single_frames(
        [clip_from_path(path, scene=scene, fps=fps, folder_fps=folder_fps) for path in paths]
    )


def without_single_frames(clips: Sequence[Clip]) -> Found:
    """Leave out clips with one frame, each with a note: one frame has no motion.

    Raises:
        DataError: Two clips have the same name.
    """
    kept: list[Clip] = []
    notes: list[str] = []
    by_name: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda clip: natural_key(clip.name)):
        other = by_name.setdefault(clip.name, clip)
        if other is not clip:
            raise DataError(
                f"Two clips have the name {clip.name!r}: {other.path.name} and {clip.path.name}",
                where=str(clip.path.parent),
                mend="rename one of them",
            )
        if clip.frame_count == 1:
            notes.append(f"clip {clip.name} left out: it has one frame, so no motion")
        else:
            kept.append(clip)
    return Found(tuple(kept), tuple(notes))


def require_count(clip: Clip, count: int, where: str) -> None:
    """Refuse ground truth of another length than a clip of pictures (a video's header may err).

    Raises:
        DataError: The counts differ; both are named.
    """
    if clip.path.is_dir() and clip.frame_count not in (None, count):
        raise DataError(
            f"The clip has {clip.frame_count} frames and {count} labels or masks",
            where=f"{clip.path}; ground truth: {where}",
            mend="complete the clip or its ground truth; they must have the same count",
        )
