"""Progress of a training on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Without a terminal one line at most so often, in seconds: a log stays readable.
LINE_EVERY_S = 10.0


class TrainingProgress(Protocol):
    """Told what is being done. `begin` ends what was begun before."""

    def begin(self, title: str, *, total: int) -> None:
        """A piece of work of `total` steps starts."""

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """`steps` more are done; `note` is a short state such as the loss."""

    def say(self, line: str) -> None:
        """A line to keep."""

    def end(self) -> None:
        """The piece of work is done."""


class SilentTraining:
    """Says nothing."""

    def begin(self, title: str, *, total: int) -> None:
        """See `TrainingProgress`."""

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """See `TrainingProgress`."""

    def say(self, line: str) -> None:
        """See `TrainingProgress`."""

    def end(self) -> None:
        """See `TrainingProgress`."""


class ConsoleTraining:
    """Draws on a rich console, standard error by default."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._title = ""
        self._total = 0
        self._done = 0
        self._spoke_s = 0.0

    def begin(self, title: str, *, total: int) -> None:
        """See `TrainingProgress`."""
        self.end()
        self._title, self._total, self._done = title, total, 0
        self._spoke_s = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.add_task(title, total=total, note="")
            self._bar.start()

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """See `TrainingProgress`."""
        self._done += steps
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, note=note)
        elif time.monotonic() - self._spoke_s >= LINE_EVERY_S:
            self._spoke_s = time.monotonic()
            self.say(f"{self._title}: {self._done} of {self._total} {note}".rstrip())

    def say(self, line: str) -> None:
        """See `TrainingProgress`."""
        console = self._console if self._bar is None else self._bar.console
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        """See `TrainingProgress`."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
