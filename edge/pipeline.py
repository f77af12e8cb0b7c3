"""Frame in, score map out: the only place that knows the order of the steps.

Training, evaluation, calibration, benchmarks and the daemon all run this code; what is evaluated is
what is flashed. A `View` is one camera's (or clip's) memory; the networks are shared, and one step
over several views encodes all their cells in one batch per stream. A recording's next frame is
decoded and its flow computed while one is scored, and the flows of several cameras at the same
time; neither changes a number. On a GPU all but decoding stays in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import StreamStatistics, require_grids
from edge.compute import HOST, Compute
from edge.frames import EnergyMap, Frame, ScoreMap, StreamScore
from edge.inputs import Cells
from edge.observing import Observing
from edge.open_parts import Wrap, backend_names, open_parts
from edge.runner import Runner, StreamRunner, energy_map, in_pieces
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from edge.scoring.fusion import fuse, pool
from edge.scoring.standardise import standardise
from edge.stage_clock import StageClock
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
        self._observing = Observing(alone=compute.one_thread)
        self._statistics = dict(statistics or {})
        self._map_shape = map_shape
        self._frame = frame
        self._gate = gate
        self._runners = tuple(runners)
        self._smoothing = smoothing or SmoothingSpec()
        self._stage = StageClock()
        self.stage_ms = self._stage.ms
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
        self._observe(work)
        return self._energies([view for view, _ in work])

    def stream_scores(self, work: Sequence[tuple[View, Frame]]) -> list[dict[str, StreamScore]]:
        """Each stream's score of one new frame of each of some views, in `work`'s order."""
        self._observe(work)
        return self._stream_scores([view for view, _ in work])

    def close(self) -> None:
        """Free the networks and the device, end the threads."""
        self._observing.close()
        for runner in self._runners:
            runner.close()
        self._compute.close()

    def _observe(self, work: Sequence[tuple[View, Frame]]) -> None:
        """Flows of one new frame of each view."""
        with self._stage("observe"):
            self._observing.together(work)

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
        score = standardise(view.rules.on_energy(energy), self._statistics_of(view)[name])
        return view.maps[name].update(score, view.newest)

    def _statistics_of(self, view: View) -> Mapping[str, StreamStatistics]:
        return self._statistics if view.statistics is None else view.statistics

    def _run(self, runner: Runner, cells: Sequence[Cells]) -> list[EnergyMap]:
        counts = [len(one) for one in cells]
        pieces = [self._encode(runner, piece) for piece in in_pieces(cells, runner.largest)]
        values = np.concatenate(pieces) if pieces else np.zeros(0)
        parts = np.split(values, np.cumsum(counts)[:-1])
        return [energy_map(one, part) for one, part in zip(cells, parts, strict=True)]

    def _encode(self, runner: Runner, cells: Sequence[Cells]) -> NDArray[np.float64]:
        name = runner.spec.name
        with self._stage(f"{name}.gather"):
            batch = runner.gather(cells)
        with self._stage(f"{name}.encode"):
            features = runner.encode(batch)
        with self._stage(f"{name}.head"):
            return runner.energy(features)


class Pipeline(StreamPipeline):
    """A bundle at work: frames to score maps. Usable as a context manager.

    Args:
        bundle: A verified bundle.
        backend: Name of a backend, or ``auto``.
        threads: Threads of the networks; 0 lets the backend choose.
        compute: ``auto``, ``cpu`` or ``cuda`` (see `edge.gpu.choose`), or one that is open.
        wrap: Put around each network on the host that passed its gate.

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
        wrap: Wrap | None = None,
    ) -> None:
        self.bundle = bundle
        self._model = bundle.model
        # Read first: where they are broken nothing has been opened that would have to be closed.
        statistics = {
            stream.name: StreamStatistics.from_arrays(bundle.arrays(stream.statistics))
            for stream in bundle.model.streams
        }
        place, runners = open_parts(
            bundle, compute=compute, backend=backend, threads=threads, wrap=wrap
        )
        self.backends = backend_names(runners)
        """Backend and precision of each stream's network, for logs, events and reports."""
        super().__init__(
            frame=bundle.model.frame,
            gate=bundle.model.gate,
            runners=runners,
            smoothing=bundle.model.fusion.smoothing,
            statistics=statistics,
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
        self._observe(work)
        return self._score_observed(work)

    def score_all(self, view: View, frames: Iterable[Frame]) -> Iterator[tuple[Frame, ScoreMap]]:
        """Score the frames of a recording; what need not wait runs ahead in a thread of its own.

        The scores are those of `score`, frame after frame. Errors of `frames` are raised in their
        place. After an early end the view may have seen frames that were not scored: `reset` it.
        """
        for frame in self._observing.ahead(view, frames, lambda: self._stage("observe")):
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
