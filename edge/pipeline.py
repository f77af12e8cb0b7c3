"""Frame in, score map out: the only place that knows the order of the steps.

Training, evaluation, calibration, benchmarks and the daemon all run this code; what is evaluated is
what is flashed. A `View` is one camera's (or clip's) memory; the networks are shared, and one step
over several views encodes all their cells in one batch per stream.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import StreamStatistics, require_grids
from edge.compute import HOST, Compute
from edge.frames import EnergyMap, Frame, ScoreMap, StreamScore
from edge.inputs import Cells
from edge.open_parts import open_parts
from edge.runner import Runner, StreamRunner, in_pieces
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from edge.scoring.fusion import fuse, pool
from edge.scoring.standardise import standardise
from edge.view import View
from engines.backends.choose import AUTO
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, SmoothingSpec, StreamSpec

__all__ = ["Pipeline", "StreamPipeline", "StreamRunner"]


class StreamPipeline:
    """Frames to energies per stream, and with statistics to each stream's score.

    Args:
        frame: Working size.
        gate: Motion gate.
        runners: The streams.
        smoothing: Of the frame score; kept by the views.
        statistics: By stream name; without them there are energies and no scores.
        map_shape: (rows, columns) of the fused map; None: of the finest stream.
        compute: Where the array work is done; the runners are its own.
    """

    def __init__(
        self,
        *,
        frame: FrameSpec,
        gate: GateSpec,
        runners: Sequence[Runner],
        smoothing: SmoothingSpec | None = None,
        statistics: Mapping[str, StreamStatistics] | None = None,
        map_shape: tuple[int, int] | None = None,
        compute: Compute = HOST,
    ) -> None:
        self._compute = compute
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
            compute=self._compute,
        )
        if statistics is not None:
            require_grids(statistics, view.grids, where="site calibration")
        return view

    @property
    def compute(self) -> str:
        """Name of what does the array work: ``cpu``, or a GPU."""
        return self._compute.name

    @property
    def places(self) -> dict[str, str]:
        """By stream: where its cells are found and cut."""
        return {one.spec.name: self._compute.place(one.spec) for one in self._runners}

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
        """Free the networks and the device."""
        for runner in self._runners:
            runner.close()
        self._compute.close()

    def _stream_score(self, view: View, name: str, energy: EnergyMap) -> StreamScore:
        assert view.observation is not None
        score = standardise(view.rules.on_energy(energy), self._statistics_of(view)[name])
        return view.maps[name].update(score, view.observation)

    def _statistics_of(self, view: View) -> Mapping[str, StreamStatistics]:
        return self._statistics if view.statistics is None else view.statistics

    def _run(self, runner: Runner, cells: Sequence[Cells]) -> Iterator[EnergyMap]:
        counts = [len(one) for one in cells]
        pieces = [self._encode(runner, piece) for piece in in_pieces(cells, runner.largest)]
        values = np.concatenate(pieces) if pieces else np.zeros(0)
        for one, part in zip(cells, np.split(values, np.cumsum(counts)[:-1]), strict=True):
            energy = np.zeros(one.shape)
            active = np.zeros(one.shape, np.bool_)
            energy[one.rows, one.columns] = part
            active[one.rows, one.columns] = True
            yield EnergyMap(energy=energy, active=active, warm_up=one.warm_up, fresh=one.fresh)

    def _encode(self, runner: Runner, cells: Sequence[Cells]) -> NDArray[np.float64]:
        name = runner.spec.name
        with self._stage(f"{name}.gather"):
            batch = runner.gather(cells)
        with self._stage(f"{name}.encode"):
            features = runner.encode(batch)
        with self._stage(f"{name}.head"):
            return runner.energy(features)

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
        compute: ``auto``, ``cpu`` or ``cuda`` (see `edge.gpu.choose`), or one that is open.

    Raises:
        DataError: The bundle's parts do not fit together.
        UsageError: No such backend or compute.
        UnavailableError: What was asked for by name is not there.
        TemporaryError: Out of device memory.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = AUTO,
        threads: int = 0,
        compute: str | Compute = AUTO,
    ) -> None:
        self.bundle = bundle
        self._model = bundle.model
        place, runners = open_parts(bundle, compute=compute, backend=backend, threads=threads)
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
            compute=place,
        )
        try:
            require_grids(self._statistics, self.new_view().grids, where=str(bundle.root))
        except DataError:
            self.close()
            raise

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
