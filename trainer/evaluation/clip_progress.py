"""Progress over clips on standard error: a bar on a terminal, one line per clip elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class ClipProgress(Protocol):
    """Told about each clip and each frame of long work."""

    def say(self, text: str) -> None:
        """A step begins that has no clips to count."""
        ...

    def begin(self, name: str, *, number: int, of: int, frames: int | None) -> None:
        """Clip `number` (from 1) of `of` starts; `frames` is its length if known."""
        ...

    def frame(self) -> None:
        """One more frame of the clip is done."""
        ...

    def end(self) -> None:
        """The clip is done."""
        ...


class SilentProgress:
    """Says nothing; for callers that show their own progress."""

    def say(self, text: str) -> None:
        """See `ClipProgress`."""

    def begin(self, name: str, *, number: int, of: int, frames: int | None) -> None:
        """See `ClipProgress`."""

    def frame(self) -> None:
        """See `ClipProgress`."""

    def end(self) -> None:
        """See `ClipProgress`."""


class ConsoleProgress:
    """One bar over all clips with rate and time left, or plain lines where there is no terminal.

    Args:
        console: Where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[clips]}", markup=False),
            _FrameRate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._name = ""
        self._number = 0
        self._of = 0
        self._length: int | None = None
        self._frames = 0
        self._total_frames = 0
        self._began = 0.0

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def say(self, text: str) -> None:
        """See `ClipProgress`."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, name: str, *, number: int, of: int, frames: int | None) -> None:
        """See `ClipProgress`."""
        self._name, self._number, self._of, self._length = name, number, of, frames
        self._frames = 0
        self._began = time.monotonic()
        if not self._bar.tasks:
            self._bar.add_task(name, total=of, clips="", frames=0)
        self._draw()

    def frame(self) -> None:
        """See `ClipProgress`."""
        self._frames += 1
        self._total_frames += 1
        self._draw()

    def end(self) -> None:
        """See `ClipProgress`."""
        self._length = self._frames or 1
        self._draw()
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._began
            rate = self._frames / seconds if seconds > 0 else 0.0
            position = f"[{self._number}/{self._of}]"
            self.say(f"{position} {self._name}: {self._frames} frames, {rate:.1f} frames/s")

    def _draw(self) -> None:
        share = min(1.0, self._frames / self._length) if self._length else 0.0
        self._bar.update(
            self._bar.task_ids[0],
            description=self._name,
            completed=self._number - 1 + share,
            clips=f"{self._number}/{self._of}",
            frames=self._total_frames,
        )


class _FrameRate(ProgressColumn):
    """Frames per second since the start."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        rate = task.fields["frames"] / elapsed if elapsed > 0 else 0.0
        return Text(f"{rate:5.1f} frames/s", style="progress.data.speed")
