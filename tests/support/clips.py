"""In-memory clips: a textured wall with bright squares that walk along it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from edge.frames import Frame


@dataclass
class MemorySource:
    """A `Source` over frames that are already there."""

    frames: list[Frame]
    name: str
    fps: float
    skipped: int = 0
    live: bool = False

    @property
    def frame_count(self) -> int | None:
        return len(self.frames)

    def __enter__(self) -> MemorySource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


@dataclass
class MemoryClip:
    """A clip of `length` frames with squares of 20 px; `speed` is in pixels a frame."""

    name: str = "clip"
    length: int = 30
    fps: float = 10.0
    seed: int = 0
    speed: int = 3
    width: int = 168
    height: int = 112
    frames: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        wall = np.random.default_rng(99).integers(60, 120, (self.height, self.width, 3))
        wall = cv2.GaussianBlur(wall.astype(np.uint8), (0, 0), 1.5)
        starts = [(int(rng.integers(0, self.width)), int(rng.integers(0, self.height - 20)))]
        starts.append((int(rng.integers(0, self.width)), int(rng.integers(0, self.height - 20))))
        for i in range(self.length):
            picture = wall.copy()
            for x, y in starts:
                left = (x + i * self.speed) % (self.width - 20)
                picture[y : y + 20, left : left + 20] = (200, 220, 240)
            self.frames.append(Frame(index=i, time_s=i / self.fps, bgr=picture))

    def open(self) -> MemorySource:
        return MemorySource(self.frames, self.name, self.fps)


def write_pictures(folder: Path, clip: MemoryClip) -> None:
    """The clip as a folder of pictures, 000.png and on."""
    folder.mkdir(parents=True)
    for frame in clip.frames:
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.bgr)


def write_rush(root: Path, name: str, clip: MemoryClip, *, frames: range, step: int) -> None:
    """A test clip with its masks: a bright bar rushes through `frames`, `step` pixels each."""
    masks = root / "masks" / name
    masks.mkdir(parents=True)
    for frame in clip.frames:
        mask = np.zeros(frame.bgr.shape[:2], np.uint8)
        if frame.index in frames:
            left = step * (frame.index - frames.start)
            frame.bgr[40:70, left : left + 24] = 250
            mask[40:70, left : left + 24] = 255
        cv2.imwrite(str(masks / f"{frame.index:03d}.png"), mask)
    write_pictures(root / "test" / name, clip)
