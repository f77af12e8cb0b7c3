"""In-memory clips: a textured wall with bright squares that walk along it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
