"""What the daemon is told: its cameras, its limits, and what it needs of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from calibration.stream_statistics import StreamStatistics
from edge.capture.camera_state import Patience
from edge.capture.process import Capture
from edge.capture.source import Source
from edge.capture.supervisor import MEMORY_MAX
from edge.events.film import FilmSpec
from edge.events.media import MEDIA_MAX
from edge.events.tracker import Detector
from edge.frames import Frame, ScoreMap
from edge.publish.publisher import BrokerSettings
from edge.scoring.cell_rules import EVERYWHERE, CellRules


class Scorer(Protocol):
    """What the daemon needs of `edge.pipeline.Pipeline`."""

    @property
    def new_view(self) -> Callable[..., Any]:
        """Memory for one camera, from its `CellRules` and, if there are any, site statistics."""

    def step(self, work: Sequence[tuple[Any, Frame]]) -> list[ScoreMap]:
        """Score one new frame of each of some cameras."""


@dataclass(frozen=True)
class LiveInput:
    """A camera that is captured by processes of its own.

    Attributes:
        launch: Starts a capture process.
        patience: When it is taken for lost.
        memory_max: Bytes above which a capture process is replaced.
    """

    launch: Callable[[], Capture]
    patience: Patience = field(default_factory=Patience)
    memory_max: int = MEMORY_MAX


@dataclass(frozen=True)
class Site:
    """A site calibration at work.

    Attributes:
        statistics: By stream name.
        detector: What stands behind the scores that they give.
        shape: Height and width of the picture that they are of.
    """

    statistics: Mapping[str, StreamStatistics]
    detector: Detector
    shape: tuple[int, int]


@dataclass(frozen=True)
class CameraJob:
    """A camera to watch.

    Attributes:
        name: Its name.
        source: A recording, or a live camera; None: switched off, and only its state is told.
        realtime: Play a recording at its own speed.
        rules: Masks and zones.
        film: How clips of its events are made; None: there are none.
        site: What was learned at its place; None: what the bundle says counts.
        key: Jobs of the same name with equal keys are the same; None: it equals no other. May hold
            a password, so it is shown nowhere.
    """

    name: str
    source: Source | LiveInput | None
    realtime: bool = False
    rules: CellRules = EVERYWHERE
    film: FilmSpec | None = None
    site: Site | None = None
    key: object = field(default=None, repr=False)


@dataclass(frozen=True)
class DaemonSettings:
    """What the daemon is told.

    Attributes:
        broker: How to reach the broker, and the topics.
        media: Folder for pictures; None: none are written.
        media_max: Bytes of all pictures and clips there; beyond it the oldest go.
        flush_s: How long a run that has ended by itself waits for the broker.
        home_assistant: Discovery prefix of Home Assistant; None: it is told nothing.
        snapshots: The newest event's picture of each camera goes to a retained topic.
        expected_fps: Frame rate that the model was trained at; None: not known.
        analysis_fps: Live cameras are all asked for a frame at this beat; None: as they come.
    """

    broker: BrokerSettings
    media: Path | None
    media_max: int = MEDIA_MAX
    flush_s: float = 10.0
    home_assistant: str | None = None
    snapshots: bool = False
    expected_fps: float | None = None
    analysis_fps: float | None = None
