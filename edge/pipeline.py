"""Frame in, score map out: the only place that knows the order of the steps.

Training, evaluation, calibration, benchmarks and the daemon all run this code; what is evaluated is
what is flashed. A `View` is one camera's (or clip's) memory; the networks are shared, and one step
over several views encodes all their cells in one batch per stream.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from calibration.parity import LIMITS, check_parity
from calibration.stream_statistics import StreamStatistics, require_grids
from edge.frames import EnergyMap, Frame, ScoreMap, StreamScore
from edge.inputs import Cells
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from edge.scoring.fusion import fuse, pool
from edge.scoring.heads import Head, open_head
from edge.scoring.standardise import standardise
from edge.view import View
from engines.backends.backend import Backend
from engines.backends.choose import AUTO, open_backend
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, SmoothingSpec, StreamSpec


@dataclass(frozen=True)
class StreamRunner:
    """One stream ready to run: description, network (None: features are the cells), head."""

    spec: StreamSpec
    backend: Backend | None
    head: Head


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
        self.stage_ms: dict[str, float] = defaultdict(float)
        """Milliseconds spent per stage since the start, summed over frames."""

    def new_view(
        self,
        rules: CellRules = EVERYWHERE,
        statistics: Mapping[str, StreamStatistics] | None = None,
    ) -> View:
        """Memory for one more camera or clip, with its masks, zones and site statistics.

        Raises:
            DataError: The statistics are of other streams, or of grids of another size.
        """
        view = View(
            rules=rules,
            frame=self._frame,
            gate=self._gate,
            streams=[runner.spec for runner in self._runners],
            smoothing=self._smoothing,
            map_shape=self._map_shape,
            statistics=statistics,
        )
        if statistics is not None:
            require_grids(statistics, view.grids, where="site calibration")
        return view

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
        observations = []
        for view, frame in work:
            with self._stage("observe"):
                view.observation = view.observer.observe(frame)
                observations.append(view.observation)
        results: list[dict[str, EnergyMap]] = [{} for _ in work]
        for runner in self._runners:
            name = runner.spec.name
            cells = []
            for (view, _), observation in zip(work, observations, strict=True):
                with self._stage(f"{name}.input"):
                    cells.append(view.inputs[name].observe(observation))
            for result, energy in zip(results, self._run(runner, cells), strict=True):
                result[name] = energy
        return results

    def stream_scores(self, work: Sequence[tuple[View, Frame]]) -> list[dict[str, StreamScore]]:
        """Each stream's score of one new frame of each of some views, in `work`'s order."""
        energies = self.energies(work)
        with self._stage("score"):
            return [
                {name: self._stream_score(view, name, maps[name]) for name in maps}
                for (view, _), maps in zip(work, energies, strict=True)
            ]

    def close(self) -> None:
        """Free the networks."""
        for runner in self._runners:
            if runner.backend is not None:
                runner.backend.close()

    def _stream_score(self, view: View, name: str, energy: EnergyMap) -> StreamScore:
        assert view.observation is not None
        score = standardise(view.rules.on_energy(energy), self._statistics_of(view)[name])
        return view.maps[name].update(score, view.observation)

    def _statistics_of(self, view: View) -> Mapping[str, StreamStatistics]:
        return self._statistics if view.statistics is None else view.statistics

    def _run(self, runner: StreamRunner, cells: Sequence[Cells]) -> Iterator[EnergyMap]:
        name = runner.spec.name
        counts = [len(one) for one in cells]
        values = np.zeros(0)
        if sum(counts):
            with self._stage(f"{name}.gather"):
                batch = np.concatenate([one.gather() for one in cells if len(one)])
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
        runners = [_open_runner(bundle, s, backend, threads) for s in bundle.model.streams]
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
        require_grids(self._statistics, self.new_view().grids, where=str(bundle.root))

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
    def statistics(self) -> Mapping[str, StreamStatistics]:
        """The bundle's own, by stream name."""
        return self._statistics

    @property
    def map_shape(self) -> tuple[int, int]:
        """(rows, columns) of the fused map."""
        return self._model.map.rows, self._model.map.columns

    def score(self, view: View, frame: Frame) -> ScoreMap:
        """Score the next frame of one view."""
        return self.step([(view, frame)])[0]

    def step(self, work: Sequence[tuple[View, Frame]]) -> list[ScoreMap]:
        """Score one new frame of each of some views; all cells of a stream go in one batch."""
        streams = self.stream_scores(work)
        with self._stage("fuse"):
            return [
                self._score_one(view, frame, scores)
                for (view, frame), scores in zip(work, streams, strict=True)
            ]

    def _score_one(self, view: View, frame: Frame, scores: dict[str, StreamScore]) -> ScoreMap:
        fused = fuse(
            scores,
            self._model.streams,
            self._statistics_of(view),
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


def _open_runner(bundle: Bundle, stream: StreamSpec, backend: str, threads: int) -> StreamRunner:
    arrays = bundle.arrays(stream.head.file) if stream.head.file is not None else {}
    head = open_head(stream.head, arrays)
    opened = None
    if stream.network is not None:
        opened = open_backend(bundle, stream.network, name=backend, threads=threads)
        _parity_gate(bundle, stream, opened, head)
    return StreamRunner(spec=stream, backend=opened, head=head)


def _parity_gate(bundle: Bundle, stream: StreamSpec, backend: Backend, head: Head) -> None:
    """The network must give here what it gave where it was trained, or nothing starts."""
    if stream.parity is None:
        return
    golden = bundle.arrays(stream.parity)
    if set(golden) != {"patches", "latents"}:
        raise DataError(
            f"parity file {stream.parity} must hold patches and latents, it holds {sorted(golden)}",
            where=str(bundle.root),
            mend="export the bundle again",
        )
    limits = LIMITS[backend.precision]
    check_parity(
        backend,
        golden["patches"].astype(np.float32),
        golden["latents"].astype(np.float32),
        cosine_min=limits.cosine,
        max_abs=math.inf,
        energy=head.energy,
        rank_min=limits.rank,
    )
