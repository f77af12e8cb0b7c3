"""What an evaluation found, as plain values; nothing here computes or prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.model_spec import AlarmSpec
from trainer.evaluation.gallery import Moment

PROTOCOL = (
    "streaming: causal, every frame of every clip scored, new state per clip, micro ROC, "
    "no normalisation by clip or test set"
)


@dataclass(frozen=True)
class Curve:
    """A ROC curve: float64, same length, both rising from 0 to 1."""

    false_positive: NDArray[np.float64]
    true_positive: NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """Figures at one level (frame or pixel), fractions; None where a class is missing."""

    auc: float | None = None
    eer: float | None = None
    curve: Curve | None = None


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
class Regions:
    """Region- and track-based detection (Ramachandra and Jones, 2020), areas as fractions.

    `tracks` is where the tracks come from.
    """

    rbdc: float | None
    tbdc: float | None
    tracks: str


@dataclass(frozen=True)
class EventFigures:
    """Alarm events against ground-truth events at the bundle's threshold.

    Attributes:
        found: Ground-truth events that an alarm overlaps.
        total: Ground-truth events.
        alarms: Alarm events in all.
        false_alarms: Alarm events that overlap no ground-truth event.
        normal_hours: Hours of normal video in the labelled test clips.
        false_alarms_per_hour: None where there is no normal video.
        interval: Exact Poisson interval of that rate at `confidence`.
        confidence: Of `interval`.
        delay_frames: Delay of each event found, in frames, at least 0.
        delay_s: The same in seconds.
        operating_point: (false positive rate, true positive rate) of frames at the threshold.
    """

    found: int
    total: int
    alarms: int
    false_alarms: int
    normal_hours: float
    false_alarms_per_hour: float | None
    interval: tuple[float, float] | None
    confidence: float
    delay_frames: tuple[int, ...]
    delay_s: tuple[float, ...]
    operating_point: tuple[float, float] | None


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
    """

    name: str
    fps: float
    index: NDArray[np.int64]
    score: NDArray[np.float64]
    truth: tuple[tuple[int, int], ...] | None
    alarms: tuple[tuple[int, int], ...]
    skipped: int
    auc: float | None


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
        speed: Time per frame.
        timelines: One for each clip, in the order of the data set.
        pictures: Frames to look at.
        protocol: How frames were shown and scores compared, in words.
    """

    provenance: Provenance
    detector: Detection
    streams: dict[str, Detection]
    baseline: Detection | None
    regions: Regions | None
    alarm: AlarmSpec | None
    events: EventFigures | None
    speed: Speed
    timelines: tuple[ClipTimeline, ...]
    pictures: Pictures
    protocol: str = PROTOCOL
