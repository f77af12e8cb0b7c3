"""Frames and score maps made by hand, and a pipeline that plays scores from a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibration.stream_statistics import StreamStatistics
from edge.events.event import ModelInfo
from edge.events.explain import Explainer
from edge.events.tracker import Detector
from edge.frames import EnergyMap, Frame, ScoreMap, StreamScore
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from engines.model_spec import AlarmSpec, FusionSpec, HeadSpec, InputSpec, StreamSpec

SHAPE = (4, 6)
THRESHOLD = 3.0


def alarm(**changes: Any) -> AlarmSpec:
    values: dict[str, Any] = {
        "threshold": THRESHOLD,
        "open_frames": 3,
        "close_s": 1.0,
        "merge_s": 1.0,
        "budget_per_hour": 0.5,
        "proven_per_hour": 3.0,
        "extrapolated": True,
        "hours": 1.0,
        "events_seen": 0,
        "source": "made by hand",
        **changes,
    }
    return AlarmSpec(**values)


def detector(**changes: Any) -> Detector:
    return Detector(
        alarm=alarm(**changes),
        fusion=FusionSpec(),
        unit="surprise",
        explainer=explainer(("appearance", "appearance", 0.5), ("motion", "motion", 0.5)),
        model=ModelInfo(release="0.1.0", name="made", bundle="0" * 64, precision="fp32"),
    )


def explainer(*streams: tuple[str, str, float], count: np.ndarray | int = 50) -> Explainer:
    """Streams given as (name, kind, weight) that all saw so many normal samples in each cell."""
    seen = np.broadcast_to(np.asarray(count), SHAPE)
    rows, columns = (axis.repeat(seen.ravel()) for axis in map(np.ravel, np.indices(SHAPE)))
    energies = np.random.default_rng(0).normal(size=rows.size)
    statistics = StreamStatistics.fit(energies, rows, columns, SHAPE)
    specs = [
        StreamSpec(
            name=name,
            input=InputSpec(kind=kind),
            head=HeadSpec(kind="identity"),
            statistics="unused.npz",
            weight=weight,
        )
        for name, kind, weight in streams
    ]
    return Explainer(specs, FusionSpec(), {spec.name: statistics for spec in specs})


def stream(values: np.ndarray) -> StreamScore:
    energy = EnergyMap(energy=values.astype(np.float64), active=values > 0)
    return StreamScore(energy=energy, z=values.astype(np.float64), surprise=values.astype(float))


def frame(index: int, *, fps: float = 10.0, value: int | None = None) -> Frame:
    grey = index % 256 if value is None else value
    return Frame(index=index, time_s=index / fps, bgr=np.full((40, 60, 3), grey, np.uint8))


def scored(one: Frame, score: float, *, cell: tuple[int, int] = (1, 2)) -> ScoreMap:
    """A map that peaks in one cell; motion says twice what appearance says."""
    grid = np.zeros(SHAPE, np.float32)
    grid[cell] = score
    return ScoreMap(
        frame_index=one.index,
        time_s=one.time_s,
        map=grid,
        score=score,
        raw_score=score,
        streams={"appearance": stream(grid * 2 / 3), "motion": stream(grid * 4 / 3)},
    )


@dataclass
class PlayedView:
    """Knows whose it is."""

    name: str
    resets: int = 0

    def reset(self) -> None:
        self.resets += 1


@dataclass
class PlayedPipeline:
    """Gives each frame the score that stands in `scores` for the source's name and its number.

    Numbers beyond the list begin again.
    """

    scores: Mapping[str, Sequence[float]]
    views: int = 0
    steps: list[int] = field(default_factory=list)

    def new_view(self, rules: CellRules = EVERYWHERE) -> PlayedView:
        del rules  # scores are played as they are
        name = list(self.scores)[self.views]
        self.views += 1
        return PlayedView(name)

    def step(self, work: Sequence[tuple[PlayedView, Frame]]) -> list[ScoreMap]:
        self.steps.append(len(work))
        return [
            scored(one, self.scores[view.name][one.index % len(self.scores[view.name])])
            for view, one in work
        ]
