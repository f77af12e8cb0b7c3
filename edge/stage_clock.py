"""Time spent in each stage of a pipeline, summed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Call it with a stage's name for a context manager that adds the wall time spent inside.

    Stages of different names may run in different threads.
    """

    def __init__(self) -> None:
        self.ms: dict[str, float] = defaultdict(float)
        """Milliseconds by stage."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time one run of a stage; one that fails is not counted."""
        start = time.perf_counter()
        yield
        self.ms[stage] += (time.perf_counter() - start) * 1e3
