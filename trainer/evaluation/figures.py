"""From the scores of all clips to the figures of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.model_spec import AlarmSpec
from trainer.evaluation.alarm_peaks import explained_alarms
from trainer.evaluation.metrics_event import EventDetection, event_detection
from trainer.evaluation.metrics_frame import auc, macro, roc
from trainer.evaluation.metrics_region import RegionMetrics
from trainer.evaluation.protocol import FUSED, ClipScores, Track
from trainer.evaluation.result import ClipTimeline, Detection, Level, Rates, RegionFigures

PickTrack = Callable[[ClipScores], Track | None]


def detection(clips: Sequence[ClipScores], pick: PickTrack) -> Detection:
    """Frame and pixel figures of one score over all clips.

    Args:
        clips: Clips without labels (without masks) do not count at frame (pixel) level.
        pick: The score, for instance ``stream_track(FUSED)``.

    Raises:
        DataError: A score is not a finite number.
    """
    frames: list[tuple[NDArray[np.bool_], NDArray[np.float64]]] = []
    pixels: list[tuple[NDArray[np.bool_], NDArray[np.float64]]] = []
    for clip in clips:
        track = pick(clip)
        if track is not None and clip.labels is not None:
            frames.append((clip.labels, track.frame))
        if track is not None and track.pixel is not None and clip.masked is not None:
            pixels.append((clip.masked, track.pixel))
    mean = macro(frames)
    return Detection(
        frame=_level(frames), pixel=_level(pixels), macro_auc=mean.auc, macro_clips=mean.clips
    )


def stream_track(name: str) -> PickTrack:
    """Picks the score of one stream, or of all fused (`FUSED`)."""
    return lambda clip: clip.tracks.get(name)


def region_figures(metrics: RegionMetrics, clips: Sequence[ClipScores]) -> RegionFigures | None:
    """RBDC and TBDC of the frames that `metrics` was given; None without ground-truth regions."""
    if not any(clip.masked is not None and clip.masked.any() for clip in clips):
        return None
    curve = metrics.result()
    return RegionFigures(curve.rbdc, curve.tbdc, regions=curve.regions, tracks=curve.tracks)


def event_figures(
    clips: Sequence[ClipScores], alarm: AlarmSpec | None
) -> tuple[EventDetection | None, Rates | None]:
    """Events, and frames, at the threshold; None without a threshold or without ground truth.

    Raises:
        DataError: A score is not a number.
    """
    labelled = [
        (clip.times, clip.tracks[FUSED].frame, clip.labels)
        for clip in clips
        if clip.labels is not None
    ]
    if alarm is None or not labelled:
        return None, None
    labels = np.concatenate([truth for _, _, truth in labelled])
    above = np.concatenate([scores for _, scores, _ in labelled]) > alarm.threshold
    rates = None
    if labels.any() and not labels.all():
        rates = Rates(float(above[~labels].mean()), float(above[labels].mean()))
    return event_detection(labelled, alarm, confidence=alarm.confidence), rates


def timeline(clip: ClipScores, alarm: AlarmSpec | None) -> ClipTimeline:
    """What the report shows of one clip."""
    scores = clip.tracks[FUSED].frame
    labels = clip.labels
    both = labels is not None and bool(labels.any()) and not bool(labels.all())
    reasons = (
        ()
        if alarm is None
        else explained_alarms(clip.index, clip.times, scores, labels, clip.peaks, alarm)
    )
    return ClipTimeline(
        name=clip.clip.name,
        fps=clip.clip.fps,
        index=clip.index,
        score=scores,
        truth=None if labels is None else _runs(clip.index, labels),
        alarms=tuple((one.first, one.end) for one in reasons),
        skipped=clip.skipped,
        auc=auc(labels, scores) if labels is not None and both else None,
        reasons=reasons,
    )


def _level(parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.float64]]]) -> Level:
    labels = np.concatenate([part for part, _ in parts]) if parts else np.empty(0, dtype=np.bool_)
    if not labels.any() or labels.all():
        return Level()
    curve = roc(labels, np.concatenate([scores for _, scores in parts]))
    return Level(curve.auc, curve.eer, curve)


def _runs(index: NDArray[np.int64], labels: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(np.int8)))
    return tuple(
        (int(index[first]), int(index[end - 1]) + 1)
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    )
