"""The streaming protocol: each clip once, in order, frame by frame; nothing is looked up ahead.

Every number is made while its frame is there: frame score, stream peaks and one pixel-level score
per frame. Pictures are dropped, except for the few that a `Gallery` keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame, ScoreMap
from engines.errors import DataError
from engines.model_spec import FrameSpec
from trainer.datasets.clip import Clip
from trainer.evaluation.alarm_peaks import Explain, Peak, PeakKeeper
from trainer.evaluation.clip_progress import ClipProgress, SilentProgress
from trainer.evaluation.clip_truth import MaskReader, label_at, labels_of
from trainer.evaluation.gallery import Gallery, Moment
from trainer.evaluation.metrics_pixel import pixel_scores
from trainer.evaluation.metrics_region import RegionMetrics

FUSED = ""  # a name that no stream can have

View = TypeVar("View")
OtherView = TypeVar("OtherView")


class Scorer(Protocol[View]):
    """What the protocol needs of a pipeline."""

    def new_view(self) -> View:
        """State of one clip, empty."""
        ...

    def score(self, view: View, frame: Frame) -> ScoreMap:
        """Score one frame; later frames are not known."""
        ...


@dataclass(frozen=True)
class Track:
    """One score over a clip: float64 (F,) each; `pixel` is None where the clip has no masks."""

    frame: NDArray[np.float64]
    pixel: NDArray[np.float64] | None


@dataclass(frozen=True)
class ClipScores:
    """All that is kept of one clip; F is the number of frames that were scored and can be judged.

    Attributes:
        clip: The clip.
        index: int64 (F,), frame numbers; the numbers of unreadable frames are missing.
        times: float64 (F,), seconds.
        tracks: The detector under `FUSED`, each stream under its name.
        baseline: The baseline's score, if one was run.
        labels: bool (F,), anomalous frames; None if unknown.
        masked: bool (F,), frames with ground-truth pixels; None if the clip has no masks.
        frames: Frames scored, those beyond the end of the labels included.
        skipped: Frames that could not be read (of a folder: the frame before stands in).
        read_s: Seconds spent reading and decoding.
        score_s: Seconds spent in the detector's pipeline.
        peaks: What drove the highest frame of each run above the alarm threshold, by its time.
    """

    clip: Clip
    index: NDArray[np.int64]
    times: NDArray[np.float64]
    tracks: Mapping[str, Track]
    baseline: Track | None
    labels: NDArray[np.bool_] | None
    masked: NDArray[np.bool_] | None
    frames: int
    skipped: int
    read_s: float
    score_s: float
    peaks: Mapping[float, Peak] = field(default_factory=dict)


def stream_clips(
    clips: Sequence[Clip],
    scorer: Scorer[View],
    *,
    frame_spec: FrameSpec,
    gallery: Gallery,
    regions: RegionMetrics,
    baseline: Scorer[OtherView] | None = None,
    progress: ClipProgress | None = None,
    explain: Explain | None = None,
    threshold: float | None = None,
) -> Iterator[ClipScores]:
    """Score test clips with the detector and, over the same frames, with a baseline.

    Args:
        clips: Footage and ground truth.
        scorer: The detector; each clip gets a new view, so nothing of another clip is left in it.
        frame_spec: Working size of the pictures kept in the gallery.
        gallery: Is offered every frame.
        regions: Is given every frame of the clips that have masks.
        baseline: A second pipeline over the same decoded frames, not counted in `score_s`.
        progress: Is told about every frame.
        explain: Puts the maps of kept frames into words; None: they stay without.
        threshold: Runs of frames above it have their peaks explained; None: there are no alarms.

    Raises:
        DataError: A clip cannot be read, or its ground truth does not fit its frames.
        InputMissingError: A clip is not there.
    """
    report = progress or SilentProgress()
    for number, clip in enumerate(clips, start=1):
        score = _stepper(scorer)
        score_baseline = None if baseline is None else _stepper(baseline)
        record = _Record(clip, gallery, regions, frame_spec, PeakKeeper(explain, threshold))
        watch = _Stopwatch()
        with clip.open() as source:
            report.begin(clip.name, number=number, of=len(clips), frames=source.frame_count)
            watch.lap()
            for frame in source:
                record.read_s += watch.lap()
                scored = score(frame)
                record.score_s += watch.lap()
                record.take(frame, scored, score_baseline(frame) if score_baseline else None)
                report.frame()
                watch.lap()
            skipped = source.skipped
        report.end()
        yield record.close(skipped)


def _stepper(scorer: Scorer[View]) -> Callable[[Frame], ScoreMap]:
    view = scorer.new_view()
    return lambda frame: scorer.score(view, frame)


class _Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds


class _TrackRecord:
    """Grows one `Track`."""

    def __init__(self) -> None:
        self._frame: list[float] = []
        self._pixel: list[float] = []

    def take(
        self,
        score: float,
        cells: NDArray[np.floating],
        mask: NDArray[np.bool_] | None,
        *,
        judged: bool,
    ) -> None:
        self._frame.append(score)
        if judged:
            self._pixel.append(pixel_scores(cells, mask))

    def close(self, judged: int) -> Track:
        pixel = np.array(self._pixel[:judged], dtype=np.float64) if self._pixel else None
        return Track(np.array(self._frame[:judged], dtype=np.float64), pixel)


class _Record:
    """Grows one `ClipScores`."""

    def __init__(
        self,
        clip: Clip,
        gallery: Gallery,
        regions: RegionMetrics,
        frame_spec: FrameSpec,
        peaks: PeakKeeper,
    ) -> None:
        self._clip = clip
        self._gallery = gallery
        self._regions = regions
        self._peaks = peaks
        regions.begin_clip()
        self._size = (frame_spec.width, frame_spec.height)
        self._masks = MaskReader(clip)
        self._index: list[int] = []
        self._times: list[float] = []
        self._tracks: dict[str, _TrackRecord] = {}
        self._baseline: _TrackRecord | None = None
        self._masked: list[bool] = []
        self.read_s = 0.0
        self.score_s = 0.0

    def take(self, frame: Frame, scored: ScoreMap, baseline: ScoreMap | None) -> None:
        mask = self._masks.at(frame.index)
        judged = self._clip.has_masks
        self._index.append(frame.index)
        self._times.append(frame.time_s)
        self._peaks.take(scored)
        self._track(FUSED).take(scored.score, scored.map, mask, judged=judged)
        for name, stream in scored.streams.items():
            self._track(name).take(stream.peak, stream.surprise, mask, judged=judged)
        if baseline is not None:
            self._baseline = self._baseline or _TrackRecord()
            self._baseline.take(baseline.score, baseline.map, mask, judged=judged)
        if judged:
            self._masked.append(mask is not None)
            if not self._masks.ended:
                self._regions.add(scored.map, mask)
        anomalous = label_at(self._clip, frame.index, mask)
        self._gallery.offer(
            self._clip.name,
            frame.time_s,
            scored.score,
            lambda: self._moment(frame, scored, anomalous, mask),
            anomalous=anomalous,
            warm_up=scored.warm_up,
        )

    def close(self, skipped: int) -> ClipScores:
        index = np.array(self._index, dtype=np.int64)
        if not index.size:
            raise DataError("no frame of this clip could be read", where=str(self._clip.path))
        labels = labels_of(self._clip, int(index[-1]) + 1)
        # Labels may end a few frames early (`Clip.count_slack`); the rest is scored, not judged.
        judged = index.size if labels is None else int((index < labels.size).sum())
        index = index[:judged]
        has_masks = self._clip.has_masks
        return ClipScores(
            clip=self._clip,
            index=index,
            times=np.array(self._times[:judged], dtype=np.float64),
            tracks={name: track.close(judged) for name, track in self._tracks.items()},
            baseline=self._baseline.close(judged) if self._baseline else None,
            labels=None if labels is None else labels[index],
            masked=np.array(self._masked[:judged], dtype=np.bool_) if has_masks else None,
            frames=len(self._index),
            skipped=skipped,
            read_s=self.read_s,
            score_s=self.score_s,
            peaks=self._peaks.close(),
        )

    def _track(self, name: str) -> _TrackRecord:
        return self._tracks.setdefault(name, _TrackRecord())

    def _moment(
        self,
        frame: Frame,
        scored: ScoreMap,
        anomalous: bool | None,
        mask: NDArray[np.bool_] | None,
    ) -> Moment:
        picture = cv2.resize(frame.bgr, self._size, interpolation=cv2.INTER_AREA)
        return Moment(
            clip=self._clip.name,
            index=frame.index,
            time_s=frame.time_s,
            score=scored.score,
            anomalous=anomalous,
            picture=np.asarray(picture, dtype=np.uint8),
            map=scored.map.copy(),
            mask=mask,
            explanation=self._peaks.words(scored),
        )
