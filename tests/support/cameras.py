"""Capture processes that are none: simulators for the supervisor and the daemon."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.capture.frame_ring import FrameMeta
from edge.capture.process import News


@dataclass
class TimedCapture:
    """Frames at their own speed; fails when `length` of them were taken."""

    fps: float
    length: int | None = None
    failure: str | None = None
    size: tuple[int, int] = (40, 60)
    started_s: float = field(default_factory=time.monotonic)
    told: int = 0
    taken: int = 0
    stopped: bool = False

    def _count(self) -> int:
        return 0 if self.length == 0 else int((time.monotonic() - self.started_s) * self.fps)

    def news(self, timeout_s: float) -> News:
        if self._count() == self.told and self.length != 0:
            time.sleep(min(timeout_s, 1.0 / self.fps))
        fresh = self._count() > self.told
        self.told = self._count()
        done = self.length is not None and self.taken >= self.length
        return News(picture=fresh, failure=self.failure if done else None)

    def peek(self) -> FrameMeta | None:
        number = self._count()
        if number == 0:
            return None
        mono_s = self.started_s + number / self.fps
        height, width = self.size
        return FrameMeta(number, mono_s, time.time(), width, height, changes=number)

    def newest(self) -> tuple[FrameMeta, NDArray[np.uint8]] | None:
        meta = self.peek()
        if meta is None:
            return None
        self.taken += 1
        return meta, np.full((*self.size, 3), meta.number % 256, np.uint8)

    def resident_bytes(self) -> int:
        return 0

    def stop(self) -> bool:
        self.stopped = True
        return True


@dataclass
class ScriptedCapture:
    """Does what a test says; nothing happens by itself."""

    meta: FrameMeta | None = None
    queue: list[News] = field(default_factory=list)
    dies: bool = True
    memory: int = 0
    stops: int = 0

    def show(self, number: int, *, mono_s: float = 0.0, **facts: float) -> None:
        values: dict[str, float] = {"changes": number, **facts}
        self.meta = FrameMeta(number, mono_s, 0.0, 60, 40, **values)  # type: ignore[arg-type]
        self.queue.append(News(picture=True))

    def news(self, timeout_s: float) -> News:
        del timeout_s  # time is the test's affair
        return self.queue.pop(0) if self.queue else News()

    def peek(self) -> FrameMeta | None:
        return self.meta

    def newest(self) -> tuple[FrameMeta, NDArray[np.uint8]] | None:
        if self.meta is None:
            return None
        return self.meta, np.zeros((self.meta.height, self.meta.width, 3), np.uint8)

    def resident_bytes(self) -> int:
        return self.memory

    def stop(self) -> bool:
        self.stops += 1
        return self.dies
