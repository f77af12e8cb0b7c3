"""What drove each alarm of a clip: the peaks of its runs above the threshold, put into words.

Which runs make an alarm is known only when the clip has ended, so the highest frame of every run is
kept; its words are made once, when the run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.alarm_rule import alarm_events
from edge.events.explain import Explanation
from edge.frames import ScoreMap
from engines.model_spec import AlarmSpec
from trainer.evaluation.metrics_event import overlaps, truth_events

Explain = Callable[[ScoreMap, float], Explanation]


@dataclass(frozen=True)
class Peak:
    """The highest frame of a run above the threshold: its number, score and explanation."""

    index: int
    score: float
    explanation: Explanation


@dataclass(frozen=True)
class Alarm:
    """One alarm of a clip.

    Attributes:
        first: Number of the frame that opened it.
        end: Number after its last frame above the threshold.
        found: It finds an event of the ground truth (False: a false alarm); None if there is none.
        peak: Its highest frame; None if nobody was asked to explain it.
    """

    first: int
    end: int
    found: bool | None
    peak: Peak | None


class PeakKeeper:
    """Keeps the highest frame of each run of frames above a threshold.

    Args:
        explain: Puts a map into words; None: nothing is kept.
        threshold: Of the alarm; None: nothing is kept.
    """

    def __init__(self, explain: Explain | None, threshold: float | None) -> None:
        self._explain = explain
        self._threshold = np.inf if threshold is None else threshold
        self._highest: ScoreMap | None = None
        self._peaks: dict[float, Peak] = {}

    def take(self, scored: ScoreMap) -> None:
        """The next frame. Of equal scores of a run the earlier stays."""
        if scored.score <= self._threshold:
            self._end_run()
        elif self._highest is None or scored.score > self._highest.score:
            self._highest = scored

    def close(self) -> Mapping[float, Peak]:
        """Peaks by their time in seconds; call at the clip's end."""
        self._end_run()
        return self._peaks

    def words(self, scored: ScoreMap) -> Explanation | None:
        """What drove any one frame."""
        return None if self._explain is None else self._explain(scored, self._threshold)

    def _end_run(self) -> None:
        highest, self._highest = self._highest, None
        explanation = None if highest is None else self.words(highest)
        if highest is not None and explanation is not None:
            self._peaks[highest.time_s] = Peak(highest.frame_index, highest.score, explanation)


def explained_alarms(
    index: Sequence[int] | NDArray[np.int64],
    times: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_] | None,
    peaks: Mapping[float, Peak],
    rule: AlarmSpec,
) -> tuple[Alarm, ...]:
    """The alarms of a clip, in order, each with its verdict and its peak.

    Args:
        index: F frame numbers.
        times: float64 (F,), seconds.
        scores: float64 (F,).
        labels: bool (F,), anomalous frames; None if unknown.
        peaks: What a `PeakKeeper` kept of these frames.
        rule: When a score is an alarm.

    Raises:
        DataError: A score is not a number, or times fall.
    """
    events = None if labels is None else truth_events(times, labels)
    alarms = []
    for event in alarm_events(times, scores, rule):
        first, last = np.searchsorted(times, [event.opened_s, event.last_s])
        found = None if events is None else any(overlaps(event, truth) for truth in events)
        peak = peaks.get(event.peak_s)
        alarms.append(Alarm(int(index[first]), int(index[last]) + 1, found, peak))
    return tuple(alarms)
