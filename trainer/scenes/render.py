"""Renders a scene to the plain-folder layout: normal/, test/, masks/ and labels.csv.

A frame is anomalous where its mask has a pixel set, so labels and masks agree by construction.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.atomic import write_text
from engines.errors import CannotCreateError
from trainer.scenes.camera import SceneCamera
from trainer.scenes.script import ClipScript, write_scripts
from trainer.scenes.settings import SceneSettings

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class TrueEvent:
    """An anomaly as it can be seen; frames count from 0, both ends inside."""

    kind: str
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class SceneTruth:
    """What was rendered.

    Attributes:
        clips: Test clip name to its events, in order of the clips.
        normal_clips: Names of the clips of the normal part.
        frames: Clip name to its number of frames, both parts.
    """

    clips: dict[str, tuple[TrueEvent, ...]] = field(default_factory=dict)
    normal_clips: tuple[str, ...] = ()
    frames: dict[str, int] = field(default_factory=dict)

    @property
    def normal_frames(self) -> int:
        """Frames of the normal part."""
        return sum(self.frames[name] for name in self.normal_clips)

    @property
    def test_frames(self) -> int:
        """Frames of the test part."""
        return sum(self.frames[name] for name in self.clips)

    @property
    def event_count(self) -> int:
        """Anomalies of the test part."""
        return sum(len(events) for events in self.clips.values())


def render_scene(
    settings: SceneSettings, root: Path, *, progress: Callable[[int, int], None] | None = None
) -> SceneTruth:
    """Render all clips of a scene.

    Args:
        settings: What to show.
        root: New or empty folder; `trainer.datasets.open_dataset` reads it afterwards.
        progress: Called after each frame with frames done and frames in all.

    Raises:
        ConfigError: An anomaly is of no known kind.
        CannotCreateError: The folder has something in it, or cannot be written.
    """
    scripts = write_scripts(settings)
    _claim(root)
    camera = SceneCamera(settings)
    total, done = sum(script.frames for script in scripts), 0
    events: dict[str, tuple[TrueEvent, ...]] = {}
    for script in scripts:

        def tick(frames: int, before: int = done) -> None:
            if progress is not None:
                progress(before + frames, total)

        flags = _render_clip(settings, camera, script, root, tick)
        done += script.frames
        if script.kind is not None:
            events[script.name] = _events(script.kind, flags)
    write_text(root / "labels.csv", _label_table(events))
    return SceneTruth(
        clips=events,
        normal_clips=tuple(script.name for script in scripts if script.part == "normal"),
        frames={script.name: script.frames for script in scripts},
    )


def _claim(root: Path) -> None:
    """Make the folders; clips of another scene must not be mixed in."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise CannotCreateError(
                "The folder for the scene is not empty",
                where=str(root),
                mend="name a new folder, or empty this one",
            )
        for part in ("normal", "test", "masks"):
            (root / part).mkdir()
    except OSError as error:
        raise CannotCreateError(
            f"The folder for the scene cannot be made: {error.strerror or error}", where=str(root)
        ) from error


def _render_clip(
    settings: SceneSettings,
    camera: SceneCamera,
    script: ClipScript,
    root: Path,
    tick: Callable[[int], None],
) -> list[bool]:
    """Write one clip with its masks; returns which frames are anomalous."""
    path = root / script.part / f"{script.name}.avi"
    # OpenCV's own encoder: there in each build, and with a quality that can be set.
    video = cv2.VideoWriter(
        str(path),
        cv2.CAP_OPENCV_MJPEG,
        cv2.VideoWriter.fourcc(*"MJPG"),
        settings.fps,
        (settings.width, settings.height),
    )
    if not video.isOpened():
        raise CannotCreateError("The video cannot be written", where=str(path))
    video.set(cv2.VIDEOWRITER_PROP_QUALITY, _JPEG_QUALITY)
    masks = root / "masks" / script.name
    if script.part == "test":
        masks.mkdir()
    flags = []
    try:
        for index, (picture, mask) in enumerate(camera.frames(script)):
            video.write(picture)
            if script.part == "test":
                _write_mask(masks / f"{index:06d}.png", mask, picture.shape[:2])
            flags.append(mask is not None)
            tick(index + 1)
    finally:
        video.release()
    return flags


def _write_mask(path: Path, mask: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> None:
    picture = np.zeros(shape, np.uint8) if mask is None else mask.astype(np.uint8) * 255
    if not cv2.imwrite(str(path), picture):
        raise CannotCreateError(
            "The mask cannot be written", where=str(path), mend="check the free space"
        )


def _events(kind: str, flags: list[bool]) -> tuple[TrueEvent, ...]:
    """Runs of anomalous frames. An actor that is wholly hidden for a while makes two of them."""
    edges = np.flatnonzero(np.diff(np.asarray([False, *flags, False], np.int8))).tolist()
    return tuple(
        TrueEvent(kind, first, end - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)
    )


def _label_table(events: dict[str, tuple[TrueEvent, ...]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("clip", "first", "last"))
    for name, runs in events.items():
        table.writerows((name, run.first_frame, run.last_frame) for run in runs)
        if not runs:
            table.writerow((name, "", ""))
    return text.getvalue()
