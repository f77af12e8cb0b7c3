"""What drove an alarm is its peak, explained once for each run above the threshold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scores import THRESHOLD, alarm, explainer, frame, scored

from calibration.alarm_rule import alarm_events
from edge.events.explain import Explanation
from edge.frames import ScoreMap
from trainer.evaluation.alarm_peaks import Alarm, PeakKeeper, explained_alarms

WORDS = explainer(("appearance", "appearance", 0.5), ("motion", "motion", 0.5))


def play(
    scores: list[float], labels: np.ndarray | None = None, *, explain: bool = True
) -> tuple[tuple[Alarm, ...], int]:
    """The alarms of a clip, and how often something was explained."""
    asked = 0

    def count(one: ScoreMap, threshold: float) -> Explanation:
        nonlocal asked
        asked += 1
        return WORDS.explain(one, threshold)

    keeper = PeakKeeper(count if explain else None, THRESHOLD)
    for index, score in enumerate(scores):
        keeper.take(scored(frame(index), score))
    times = np.arange(len(scores)) / 10
    peaks = keeper.close()
    found = explained_alarms(
        np.arange(len(scores)), times, np.array(scores), labels, peaks, alarm()
    )
    return found, asked


def test_an_alarm_has_its_highest_frame_and_a_verdict() -> None:
    scores = [1.0] * 5 + [4.0, 6.0, 6.0, 5.0] + [1.0] * 30 + [4.0] * 5 + [1.0] * 5
    labels = np.zeros(len(scores), np.bool_)
    labels[6:9] = True
    (first, second), asked = play(scores, labels)
    assert (first.first, first.end, first.found) == (7, 9, True)
    assert second.found is False
    assert first.peak is not None
    assert (first.peak.index, first.peak.score) == (6, 6.0)
    assert first.peak.explanation.stream == "motion"
    assert asked == 2
    (unlabelled, _), _ = play(scores)
    assert unlabelled.found is None
    (mute, _), _ = play(scores, explain=False)
    assert mute.peak is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 2.0, 3.0, 3.5, 4.0, 9.0]), max_size=60))
def test_every_alarm_finds_its_peak(scores: list[float]) -> None:
    alarms, _ = play(scores)
    expected = alarm_events([i / 10 for i in range(len(scores))], scores, alarm())
    assert len(alarms) == len(expected)
    for one, event in zip(alarms, expected, strict=True):
        assert one.peak is not None
        assert (one.peak.index / 10, one.peak.score) == (event.peak_s, event.peak_score)
