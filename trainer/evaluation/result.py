"""What an evaluation found, as plain values; nothing here computes or prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.model_spec import AlarmSpec, TrustRecord
from trainer.evaluation.alarm_peaks import Alarm
from trainer.evaluation.gallery import Moment
from trainer.evaluation.metrics_event import EventDetection
from trainer.evaluation.metrics_frame import Roc

PROTOCOL = (
    "streaming: causal, every frame of every clip scored, new state per clip, micro ROC, "
    "no normalisation by clip or test set"
)


@dataclass(frozen=True)
class Level:
    """Figures at one level (frame or pixel), fractions; None where a class is missing."""

    auc: float | None = None
    eer: float | None = None
    curve: Roc | None = None


@dataclass(frozen=True)
class Detection:
    """How well one score separates normal from anomalous.

    Attributes:
        frame: Frame level, micro over all labelled frames.
        pixel: Pixel level (40 % rule), over the clips that have masks.
        macro_auc: Mean frame AUC over the clips that have both classes.
        macro_clips: How many such clips there are.
    """

    frame: Level
    pixel: Level
    macro_auc: float | None
    macro_clips: int


@dataclass(frozen=True)
class RegionFigures:
    """Region- and track-based detection of the fused map, as fractions; see `metrics_region`."""

    rbdc: float | None
    tbdc: float | None
    regions: int
    tracks: int


@dataclass(frozen=True)
class Rates:
    """Shares of normal and of anomalous frames above the threshold."""

    false_positive: float
    true_positive: float


@dataclass(frozen=True)
class Speed:
    """Time of the bundle alone (the baseline's is not counted), one clip at a time.

    Attributes:
        frames: Frames scored.
        read_s: Seconds spent reading and decoding.
        score_s: Seconds spent in the pipeline.
        threads: Threads asked for; 0 lets the backend choose.
        cpu: Processors of the machine.
        backends: Backend of each network, by stream.
        stage_ms: Milliseconds per frame of each stage of the pipeline.
    """

    frames: int
    read_s: float
    score_s: float
    threads: int
    cpu: int
    backends: dict[str, str]
    stage_ms: dict[str, float]

    @property
    def fps(self) -> float | None:
        """Frames per second from file to score, reading included."""
        seconds = self.read_s + self.score_s
        return self.frames / seconds if seconds > 0 else None


@dataclass(frozen=True)
class ClipTimeline:
    """One clip: its scores over frame numbers, and what is known about it.

    Attributes:
        name: Name of the clip.
        fps: Frames per second.
        index: int64 (F,), numbers of the frames scored.
        score: float64 (F,).
        truth: Anomalous runs, 0-based half-open; None if the clip has no ground truth.
        alarms: Alarm events as frame runs, half-open.
        skipped: Frames that could not be read.
        auc: Frame AUC inside the clip, None if it has one class only.
        reasons: The same alarms with their verdict and what drove them.
    """

    name: str
    fps: float
    index: NDArray[np.int64]
    score: NDArray[np.float64]
    truth: tuple[tuple[int, int], ...] | None
    alarms: tuple[tuple[int, int], ...]
    skipped: int
    auc: float | None
    reasons: tuple[Alarm, ...] = ()


@dataclass(frozen=True)
class StreamFootage:
    """Normal footage behind one stream of the bundle.

    Attributes:
        name: The stream.
        kind: Its input kind.
        weight: Its share in the fusion.
        count: int64, rows x columns: samples of normal footage in each cell of its grid.
        samples: Samples behind its tail, all cells together.
    """

    name: str
    kind: str
    weight: float
    count: NDArray[np.int64]
    samples: int


@dataclass(frozen=True)
class Provenance:
    """What was evaluated on what: enough to do it again."""

    bundle: str
    bundle_digest: str
    bundle_path: str
    seed: int
    preset: str
    trained_on: str
    command: str
    dataset: str
    dataset_layout: str
    dataset_path: str
    label_source: str
    notes: tuple[str, ...]
    versions: dict[str, str]
    created: str


@dataclass(frozen=True)
class Pictures:
    """The frames shown: highest and lowest scores, worst false alarms, worst misses."""

    highest: tuple[Moment, ...]
    lowest: tuple[Moment, ...]
    false_alarms: tuple[Moment, ...]
    misses: tuple[Moment, ...]


@dataclass(frozen=True)
class Evaluation:
    """The whole result.

    Attributes:
        provenance: What was evaluated on what.
        detector: Figures of the bundle's fused score.
        streams: Figures of each stream alone, by name.
        baseline: Figures of the dense speed baseline; None if it was not run.
        regions: Region- and track-based figures; None without masks.
        alarm: The bundle's threshold and what stands behind it; None if it has none.
        events: Alarms against ground truth; None without a threshold or without ground truth.
        at_threshold: Frames above the threshold; None as `events`, or with one class only.
        speed: Time per frame.
        timelines: One for each clip, in the order of the data set.
        pictures: Frames to look at.
        protocol: How frames were shown and scores compared, in words.
        footage: What stands behind each stream of the bundle.
        trust: Why the streams have their weights; None: they are the preset's.
    """

    provenance: Provenance
    detector: Detection
    streams: dict[str, Detection]
    baseline: Detection | None
    regions: RegionFigures | None
    alarm: AlarmSpec | None
    events: EventDetection | None
    at_threshold: Rates | None
    speed: Speed
    timelines: tuple[ClipTimeline, ...]
    pictures: Pictures
    protocol: str = PROTOCOL
    footage: tuple[StreamFootage, ...] = ()
    trust: TrustRecord | None = None
