"""Measures the pipeline on a recording: time per frame, stages, memory, and a yardstick.

Wall time says how many frames a machine scores; processor time says how much of it that takes, and
hardly changes while other programs run. Both are compared with the same yardstick.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import Any

import cv2
import numpy as np

from edge.capture.source import Source, open_source
from edge.compute import Compute
from edge.frames import Frame
from edge.pipeline import Pipeline
from edge.read_ahead import read_ahead
from edge.vision.observe import resize
from engines.backends.choose import AUTO
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import FrameSpec

FARNEBACK_PAIRS = 8


@dataclass(frozen=True)
class BenchReport:
    """Cost of a frame.

    Attributes:
        frames: Frames scored, of all cameras together.
        cameras: Copies of the recording that were scored side by side.
        ms_per_frame: Wall time per frame over the clip, decode to score, in milliseconds.
        farneback_ms: Median of single-thread Farneback calls at the working size, same process.
        ratio: `ms_per_frame` / `farneback_ms`.
        cpu_ms_per_frame: Processor time of all threads per frame, in milliseconds.
        cpu_ratio: `cpu_ms_per_frame` / processor time of the median Farneback call.
        peak_rss_mb: Largest resident memory of the process so far, in MB.
        start_s: Seconds from loading the networks to the first score.
        stages_ms: Wall milliseconds per frame and stage. `decode`, `observe` (picture and flow) run
            in a thread of their own beside the others, so the sum may exceed `ms_per_frame`; a
            stage's share of a busy machine counts in it. On a GPU only `decode` runs ahead.
        backend: Backends of the networks.
        precision: Their precisions.
        compute: What did the array work: ``cpu``, or the name of a GPU. A GPU works while the host
            goes on, so there a stage's time is that of the host and its waiting, not of the work.
        places: By stream: where its cells were found and cut.
    """

    frames: int
    cameras: int
    ms_per_frame: float
    farneback_ms: float
    ratio: float
    cpu_ms_per_frame: float
    cpu_ratio: float
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
    cameras: int = 1,
    threads: int = 0,
    backend: str = AUTO,
    compute: str | Compute = AUTO,
) -> BenchReport:
    """Score a recording as fast as it goes and measure.

    Args:
        bundle: The bundle.
        source: Recording, as `edge.capture.source.open_source` takes it.
        frames: Stop after so many of each camera; None for all.
        cameras: Score so many copies of the recording side by side, each decoded for itself.
        threads: Threads of the networks; 0 lets the backend choose.
        backend: Name of a backend, or ``auto``.
        compute: ``auto``, ``cpu``, ``cuda``, or one that is open.

    Raises:
        DataError: The recording gives fewer than two frames.
    """
    moments, first_ms = 0, 0.0
    loading = _Clock()
    with ExitStack() as stack:
        pipeline = stack.enter_context(
            Pipeline(bundle, backend=backend, threads=threads, compute=compute)
        )
        load_ms, _ = loading.ms()
        yardstick = _Yardstick(source, bundle.model.frame)
        yardstick.measure()
        sources = [stack.enter_context(open_source(source)) for _ in range(cameras)]
        clock = _Clock()
        together = _moments(sources, frames, pipeline.stage_ms)
        for _ in _scored(pipeline, together, cameras):
            moments += 1
            if moments == 1:
                first_ms, _ = clock.ms()
        wall_ms, cpu_ms = clock.ms()
        networks = sorted(set(pipeline.backends.values()))
        stages = dict(pipeline.stage_ms)
        where, places = pipeline.compute, pipeline.places
    # Before and after: on a machine with other work one end says little of the time between.
    yardstick.measure()
    yardstick_ms, yardstick_cpu_ms = yardstick.medians_ms()
    scored = moments * cameras
    return BenchReport(
        frames=scored,
        cameras=cameras,
        ms_per_frame=wall_ms / scored,
        farneback_ms=yardstick_ms,
        ratio=wall_ms / scored / yardstick_ms,
        cpu_ms_per_frame=cpu_ms / scored,
        cpu_ratio=cpu_ms / scored / yardstick_cpu_ms,
        # ru_maxrss is in KiB on Linux.
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        start_s=(load_ms + first_ms) / 1e3,
        stages_ms={name: ms / scored for name, ms in stages.items()},
        backend=", ".join(name.split("/")[0] for name in networks) or "none",
        precision=", ".join(name.split("/")[1] for name in networks) or "none",
        compute=where,
        places=places,
    )


class _Clock:
    """Wall and processor time since its making."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def ms(self) -> tuple[float, float]:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return wall * 1e3, cpu * 1e3


def _moments(
    sources: Sequence[Source], most: int | None, stage_ms: dict[str, float]
) -> Iterator[tuple[Frame, ...]]:
    """The next frame of every source, until one ends; the time of it goes to stage `decode`."""
    iterators = [iter(source) for source in sources]
    for _ in range(most if most is not None else sys.maxsize):
        clock = _Clock()
        frames = tuple(frame for one in iterators if (frame := next(one, None)) is not None)
        stage_ms["decode"] += clock.ms()[0]
        if len(frames) < len(sources):
            return
        yield frames


def _scored(
    pipeline: Pipeline, together: Iterator[tuple[Frame, ...]], cameras: int
) -> Iterator[None]:
    """Score everything, one moment after the other."""
    views = [pipeline.new_view() for _ in range(cameras)]
    if cameras == 1:
        for _ in pipeline.score_all(views[0], (one for (one,) in together)):
            yield
        return
    for frames in read_ahead(together):
        pipeline.step(list(zip(views, frames, strict=True)))
        yield


class _Yardstick:
    """Farneback calls on the first frames of a recording, at the working size.

    Raises:
        DataError: There are fewer than two frames.
    """

    def __init__(self, source: str, size: FrameSpec) -> None:
        with open_source(source) as recording:
            frames = list(islice(recording, FARNEBACK_PAIRS + 1))
        if len(frames) < 2:
            raise DataError(
                f"a measurement needs at least 2 frames, the source gave {len(frames)}",
                where=source,
            )
        self._grays = [resize(frame.bgr[..., 1], size.width, size.height) for frame in frames]
        self._ms: list[tuple[float, float]] = []

    def measure(self) -> None:
        """One call for each pair of frames that follow each other."""
        with single_thread():
            for previous, current in pairwise(self._grays):
                flow = np.zeros((*current.shape, 2), np.float32)
                clock = _Clock()
                # OpenCV's own example values; the yardstick must be the same everywhere.
                cv2.calcOpticalFlowFarneback(previous, current, flow, 0.5, 3, 15, 3, 5, 1.2, 0)
                self._ms.append(clock.ms())

    def medians_ms(self) -> tuple[float, float]:
        """Median wall and processor milliseconds of a call."""
        wall, cpu = np.median(np.array(self._ms), axis=0)
        return float(wall), float(cpu)


@contextmanager
def single_thread() -> Iterator[None]:
    """OpenCV on one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
