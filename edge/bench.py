"""Measures the pipeline on a recording: wall time per frame, stages, memory, and a yardstick."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.capture.source import open_source
from edge.compute import Compute
from edge.pipeline import Pipeline
from edge.vision.observe import resize
from engines.backends.choose import AUTO
from engines.bundle import Bundle
from engines.errors import DataError

FARNEBACK_PAIRS = 15


@dataclass(frozen=True)
class BenchReport:
    """Cost of a frame.

    Attributes:
        frames: Frames scored.
        ms_per_frame: Wall time per frame over the clip, decode to score, in milliseconds.
        farneback_ms: Median of single-thread Farneback calls at the working size, same process.
        ratio: `ms_per_frame` / `farneback_ms`.
        peak_rss_mb: Largest resident memory of the process so far, in MB.
        start_s: Seconds from loading the networks to the first score.
        stages_ms: Milliseconds per frame and stage; `decode` is the wait for frames.
        backend: Backends of the networks.
        precision: Their precisions.
        compute: What did the array work: ``cpu``, or the name of a GPU. A GPU works while the host
            goes on, so there a stage's time is that of the host and its waiting, not of the work.
        places: By stream: where its cells were found and cut.
    """

    frames: int
    ms_per_frame: float
    farneback_ms: float
    ratio: float
    peak_rss_mb: float
    start_s: float
    stages_ms: dict[str, float]
    backend: str
    precision: str
    compute: str
    places: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to what a clock can tell."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in {
                **asdict(self),
                "stages_ms": {name: round(ms, 4) for name, ms in self.stages_ms.items()},
            }.items()
        }


def bench(
    bundle: Bundle,
    source: str,
    *,
    frames: int | None = None,
    threads: int = 0,
    backend: str = AUTO,
    compute: str | Compute = AUTO,
) -> BenchReport:
    """Score a recording as fast as it goes and measure.

    Args:
        bundle: The bundle.
        source: Recording, as `edge.capture.source.open_source` takes it.
        frames: Stop after so many; None for all.
        threads: Threads of the networks; 0 lets the backend choose.
        backend: Name of a backend, or ``auto``.
        compute: ``auto``, ``cpu``, ``cuda``, or one that is open.

    Raises:
        DataError: The recording gives fewer than two frames.
    """
    started = time.perf_counter()
    width, height = bundle.model.frame.width, bundle.model.frame.height
    grays: list[NDArray[np.uint8]] = []
    scored, decode_ms, start_s = 0, 0.0, 0.0
    with (
        Pipeline(bundle, backend=backend, threads=threads, compute=compute) as pipeline,
        open_source(source) as src,
    ):
        view = pipeline.new_view()
        began = mark = time.perf_counter()
        for frame in src:
            decode_ms += (time.perf_counter() - mark) * 1e3
            pipeline.score(view, frame)
            scored += 1
            if scored == 1:
                start_s = time.perf_counter() - started
            if len(grays) <= FARNEBACK_PAIRS:
                grays.append(frame.bgr[..., 1])
            if scored == frames:
                break
            mark = time.perf_counter()
        ms_per_frame = (time.perf_counter() - began) * 1e3 / max(scored, 1)
        stages = {"decode": decode_ms, **pipeline.stage_ms}
        networks = sorted(set(pipeline.backends.values()))
        where, places = pipeline.compute, pipeline.places
    if len(grays) < 2:
        raise DataError(
            f"a measurement needs at least 2 frames, the source gave {len(grays)}", where=source
        )
    farneback_ms = _farneback_ms([resize(gray, width, height) for gray in grays])
    return BenchReport(
        frames=scored,
        ms_per_frame=ms_per_frame,
        farneback_ms=farneback_ms,
        ratio=ms_per_frame / farneback_ms,
        # ru_maxrss is in KiB on Linux.
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        start_s=start_s,
        stages_ms={name: ms / scored for name, ms in stages.items()},
        backend=", ".join(name.split("/")[0] for name in networks) or "none",
        precision=", ".join(name.split("/")[1] for name in networks) or "none",
        compute=where,
        places=places,
    )


def _farneback_ms(grays: list[NDArray[np.uint8]]) -> float:
    times = []
    with _single_thread():
        for previous, current in pairwise(grays):
            flow = np.zeros((*current.shape, 2), np.float32)
            start = time.perf_counter()
            # OpenCV's own example values; the yardstick must be the same everywhere.
            cv2.calcOpticalFlowFarneback(previous, current, flow, 0.5, 3, 15, 3, 5, 1.2, 0)
            times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


@contextmanager
def _single_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
