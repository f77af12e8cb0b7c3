"""A new alarm threshold for a bundle from normal footage of the place where it will watch.

The footage is scored by the same pipeline as on the device. It should be footage that neither the
weights nor the statistics have seen, or the bound that it proves is too good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.alarm_rule import AlarmParameters
from calibration.threshold import fit_threshold
from engines.model_spec import AlarmSpec
from trainer.evaluation.clip_progress import ClipProgress, SilentProgress
from trainer.evaluation.protocol import Scorer, View
from trainer.normal_clip import NormalClip

HOURS_PER_DAY = 24.0
# In the report of a calibration, so many clips are named; of the others the number is told.
NAMED_CLIPS = 8


def recalibrate(
    scorer: Scorer[View],
    clips: Sequence[NormalClip],
    *,
    rule: AlarmParameters,
    false_alarms_per_day: float,
    confidence: float,
    seed: int = 0,
    progress: ClipProgress | None = None,
) -> AlarmSpec:
    """Fit a threshold; nothing is written.

    Args:
        scorer: The bundle's pipeline.
        clips: Normal footage.
        rule: How events open and close; its threshold is not used.
        false_alarms_per_day: Budget, alarm events per day of normal footage.
        confidence: Of the bound that the footage proves.
        seed: Of the bootstrap of an extrapolation.
        progress: Is told about every frame.

    Raises:
        DataError: A clip cannot be read, or the footage is too short for an alarm to open.
        InputMissingError: A clip is not there.
    """
    series = list(score_series(scorer, clips, progress=progress))
    return fit_threshold(
        series,
        budget_per_hour=false_alarms_per_day / HOURS_PER_DAY,
        confidence=confidence,
        open_frames=rule.open_frames,
        close_s=rule.close_s,
        merge_s=rule.merge_s,
        seed=seed,
        source=_footage_in_words(clips),
    )


def score_series(
    scorer: Scorer[View], clips: Sequence[NormalClip], *, progress: ClipProgress | None = None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Frame times in seconds and frame scores of each clip, both float64 (N,).

    Raises:
        DataError: A clip cannot be read.
        InputMissingError: A clip is not there.
    """
    report = progress or SilentProgress()
    for number, clip in enumerate(clips, start=1):
        view = scorer.new_view()
        times: list[float] = []
        scores: list[float] = []
        with clip.open() as source:
            report.begin(clip.name, number=number, of=len(clips), frames=source.frame_count)
            for frame in source:
                times.append(frame.time_s)
                scores.append(scorer.score(view, frame).score)
                report.frame()
        report.end()
        yield np.array(times, dtype=np.float64), np.array(scores, dtype=np.float64)


def _footage_in_words(clips: Sequence[NormalClip]) -> str:
    named = ", ".join(clip.name for clip in clips[:NAMED_CLIPS])
    more = len(clips) - NAMED_CLIPS
    plural = "s" if len(clips) > 1 else ""
    return f"{len(clips)} normal clip{plural}: {named}" + (f" and {more} more" if more > 0 else "")
