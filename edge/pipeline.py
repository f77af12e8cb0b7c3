"""Frame in, score map out: the only place that knows the order of the steps.

Training, evaluation, calibration, benchmarks and the daemon all run this code; what is evaluated is
what is flashed. A `View` is one camera's (or clip's) memory; the networks are shared, and one step
over several views encodes all their cells in one batch per stream. A recording's next frame is
decoded and its flow computed while one is scored; the flows of several cameras are computed at the
same time. Neither changes a number.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType

import numpy as np

from calibration.stream_statistics import StreamStatistics
from edge.frames import EnergyMap, Frame, ScoreMap, StreamScore
from edge.inputs import Cells
from edge.read_ahead import read_ahead
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from edge.scoring.fusion import fuse, pool
from edge.scoring.standardise import standardise
from edge.stream_runner import StreamRunner, open_runner
from edge.view import View
from edge.vision.observe import Observation
from engines.backends.choose import AUTO
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, SmoothingSpec, StreamSpec

__all__ = ["Pipeline", "StreamPipeline", "StreamRunner"]

_MOST_FLOWS = 4  # at the same time: more threads than a small device's cores only wait


class StreamPipeline:
    """Frames to energies per stream, and with statistics to each stream's score.

    Args:
        frame: Working size.
        gate: Motion gate.
        runners: The streams.
        smoothing: Of the frame score; kept by the views.
        statistics: By stream name; without them there are energies and no scores.
        map_shape: (rows, columns) of the fused map; None: of the finest stream.
    """

    def __init__(
        self,
        *,
        frame: FrameSpec,
        gate: GateSpec,
        runners: Sequence[StreamRunner],
        smoothing: SmoothingSpec | None = None,
        statistics: Mapping[str, StreamStatistics] | None = None,
        map_shape: tuple[int, int] | None = None,
    ) -> None:
        self._statistics = dict(statistics or {})
        self._map_shape = map_shape
        self._frame = frame
        self._gate = gate
        self._runners = tuple(runners)
        self._smoothing = smoothing or SmoothingSpec()
        self._flow_threads: ThreadPoolExecutor | None = None
        self.stage_ms: dict[str, float] = defaultdict(float)
        """Milliseconds spent per stage since the start, summed over frames."""

    def new_view(self, rules: CellRules = EVERYWHERE) -> View:
        """Memory for one more camera or clip, with its masks and zones."""
        return View(
            rules=rules,
            frame=self._frame,
            gate=self._gate,
            streams=[runner.spec for runner in self._runners],
            smoothing=self._smoothing,
            map_shape=self._map_shape,
        )

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams."""
        return tuple(runner.spec.name for runner in self._runners)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        """Descriptions of the streams."""
        return tuple(runner.spec for runner in self._runners)

    def grid_shape(self, stream: str) -> tuple[int, int]:
        """(rows, columns) of a stream's grid."""
        return self.new_view().inputs[stream].shape

    def energies(self, work: Sequence[tuple[View, Frame]]) -> list[dict[str, EnergyMap]]:
        """Energies of one new frame of each of some views, by stream name, in `work`'s order."""
        self._observe(work)
        return self._energies([view for view, _ in work])

    def stream_scores(self, work: Sequence[tuple[View, Frame]]) -> list[dict[str, StreamScore]]:
        """Each stream's score of one new frame of each of some views, in `work`'s order."""
        self._observe(work)
        return self._stream_scores([view for view, _ in work])

    def close(self) -> None:
        """Free the networks and end the threads."""
        for runner in self._runners:
            if runner.backend is not None:
                runner.backend.close()
        if self._flow_threads is not None:
            self._flow_threads.shutdown()
            self._flow_threads = None

    def _observe(self, work: Sequence[tuple[View, Frame]]) -> None:
        """Flows of one new frame of each view; of several views at the same time."""
        with self._stage("observe"):
            if len(work) > 1 and self._flow_threads is None:
                threads = min(os.cpu_count() or 1, _MOST_FLOWS)
                self._flow_threads = ThreadPoolExecutor(threads, thread_name_prefix="flow")
            run = self._flow_threads.map if self._flow_threads and len(work) > 1 else map
            observations = list(run(_observation, work))
        for (view, _), observation in zip(work, observations, strict=True):
            view.observation = observation

    def _energies(self, views: Sequence[View]) -> list[dict[str, EnergyMap]]:
        results: list[dict[str, EnergyMap]] = [{} for _ in views]
        for runner in self._runners:
            name = runner.spec.name
            with self._stage(f"{name}.input"):
                cells = [view.inputs[name].observe(view.newest) for view in views]
            for result, energy in zip(results, self._run(runner, cells), strict=True):
                result[name] = energy
        return results

    def _stream_scores(self, views: Sequence[View]) -> list[dict[str, StreamScore]]:
        energies = self._energies(views)
        with self._stage("score"):
            return [
                {name: self._stream_score(view, name, maps[name]) for name in maps}
                for view, maps in zip(views, energies, strict=True)
            ]

    def _stream_score(self, view: View, name: str, energy: EnergyMap) -> StreamScore:
        score = standardise(view.rules.on_energy(energy), self._statistics[name])
        return view.maps[name].update(score, view.newest)

    def _run(self, runner: StreamRunner, cells: Sequence[Cells]) -> Iterator[EnergyMap]:
        name = runner.spec.name
        counts = [len(one) for one in cells]
        values = np.zeros(0)
        if sum(counts):
            with self._stage(f"{name}.gather"):
                parts = [one.gather() for one in cells if len(one)]
                batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
            with self._stage(f"{name}.encode"):
                features = batch if runner.backend is None else runner.backend.infer(batch)
            with self._stage(f"{name}.head"):
                values = runner.head.energy(features)
        for one, part in zip(cells, np.split(values, np.cumsum(counts)[:-1]), strict=True):
            energy = np.zeros(one.shape)
            active = np.zeros(one.shape, np.bool_)
            energy[one.rows, one.columns] = part
            active[one.rows, one.columns] = True
            yield EnergyMap(energy=energy, active=active, warm_up=one.warm_up, fresh=one.fresh)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stage_ms[name] += (time.perf_counter() - start) * 1e3


class Pipeline(StreamPipeline):
    """A bundle at work: frames to score maps. Usable as a context manager.

    Args:
        bundle: A verified bundle.
        backend: Name of a backend, or ``auto``.
        threads: Threads of the networks; 0 lets the backend choose.

    Raises:
        DataError: The bundle's parts do not fit together.
        UsageError: No such backend.
    """

    def __init__(self, bundle: Bundle, *, backend: str = AUTO, threads: int = 0) -> None:
        self.bundle = bundle
        self._model = bundle.model
        runners = [open_runner(bundle, s, backend, threads) for s in bundle.model.streams]
        self.backends = {
            runner.spec.name: f"{runner.backend.name}/{runner.backend.precision}"
            for runner in runners
            if runner.backend is not None
        }
        """Backend and precision of each stream's network, for logs, events and reports."""
        super().__init__(
            frame=bundle.model.frame,
            gate=bundle.model.gate,
            runners=runners,
            smoothing=bundle.model.fusion.smoothing,
            statistics={
                stream.name: StreamStatistics.from_arrays(bundle.arrays(stream.statistics))
                for stream in bundle.model.streams
            },
            map_shape=(bundle.model.map.rows, bundle.model.map.columns),
        )
        view = self.new_view()
        for name, statistics in self._statistics.items():
            if statistics.cells.median.shape != view.inputs[name].shape:
                raise DataError(
                    f"statistics of stream {name} are for {statistics.cells.median.shape} cells, "
                    f"its input has {view.inputs[name].shape}",
                    where=str(bundle.root),
                    mend="export the bundle again",
                )

    def __enter__(self) -> Pipeline:
        """Nothing to acquire: loading happened in the constructor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the networks."""
        self.close()

    @property
    def map_shape(self) -> tuple[int, int]:
        """(rows, columns) of the fused map."""
        return self._model.map.rows, self._model.map.columns

    def score(self, view: View, frame: Frame) -> ScoreMap:
        """Score the next frame of one view."""
        return self.step([(view, frame)])[0]

    def step(self, work: Sequence[tuple[View, Frame]]) -> list[ScoreMap]:
        """Score one new frame of each of some views; all cells of a stream go in one batch."""
        self._observe(work)
        return self._score_observed(work)

    def score_all(self, view: View, frames: Iterable[Frame]) -> Iterator[tuple[Frame, ScoreMap]]:
        """Score the frames of a recording; reading and flow run ahead in a thread of their own.

        The scores are those of `score`, frame after frame. Errors of `frames` are raised in their
        place. After an early end the view has seen frames that were not scored: `reset` it.
        """

        def observed() -> Iterator[tuple[Frame, Observation]]:
            for frame in frames:
                with self._stage("observe"):
                    observation = view.observer.observe(frame)
                yield frame, observation

        for frame, view.observation in read_ahead(observed()):
            yield frame, self._score_observed([(view, frame)])[0]

    def _score_observed(self, work: Sequence[tuple[View, Frame]]) -> list[ScoreMap]:
        streams = self._stream_scores([view for view, _ in work])
        with self._stage("fuse"):
            return [
                self._score_one(view, frame, scores)
                for (view, frame), scores in zip(work, streams, strict=True)
            ]

    def _score_one(self, view: View, frame: Frame, scores: dict[str, StreamScore]) -> ScoreMap:
        fused = fuse(
            scores,
            self._model.streams,
            self._statistics,
            fusion=self._model.fusion,
            shape=self.map_shape,
        )
        pooled, raw_score = pool(view.rules.on_fused(fused), self._model.fusion)
        return ScoreMap(
            frame_index=frame.index,
            time_s=frame.time_s,
            map=pooled,
            score=view.smoother.update(frame.time_s, raw_score),
            raw_score=raw_score,
            streams=scores,
            warm_up=any(score.energy.warm_up for score in scores.values()),
        )


def _observation(work: tuple[View, Frame]) -> Observation:
    view, frame = work
    return view.observer.observe(frame)
