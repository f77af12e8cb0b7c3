"""Event metrics on hand-worked clips."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from calibration.alarm_rule import AlarmRule
from engines.errors import DataError
from trainer.evaluation.metrics_event import EventDetection, event_detection, truth_events

RULE = AlarmRule(0.5)
Clip = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def clip(score: str, label: str, fps: float = 10.0) -> Clip:
    """'#' marks a frame above the threshold, or an anomalous one; the shorter is filled up."""
    size = max(len(score), len(label))
    score, label = score.ljust(size, "."), label.ljust(size, ".")
    scores = np.array([float(c == "#") for c in score])
    return np.arange(size) / fps, scores, np.array([c == "#" for c in label], dtype=bool)


def detect(*clips: Clip) -> EventDetection:
    return event_detection(clips, RULE)


def test_an_alarm_in_an_event_finds_it_with_its_delay() -> None:
    #               0123456789
    found = detect(clip("....###.......", "..########...."))
    assert (found.found, found.total, found.alarms, found.false_alarms) == (1, 1, 1, 0)
    assert found.delay_frames == (4,)  # opened at frame 6, the event began at 2
    assert found.delay_s == pytest.approx((0.4,))


def test_an_alarm_from_before_has_delay_zero() -> None:
    found = detect(clip("##########", "....######"))
    assert (found.found, found.delay_frames, found.delay_s) == (1, (0,), (0.0,))


def test_an_alarm_that_ends_before_the_event_is_false_though_it_is_still_open() -> None:
    found = detect(clip("###.......", ".....#####"))
    assert (found.found, found.alarms, found.false_alarms) == (0, 1, 1)


@pytest.mark.parametrize(("gap", "found"), [(6, 1), (7, 1), (8, 0), (12, 0)])
def test_an_alarm_up_to_a_second_after_the_end_still_finds_it(gap: int, found: int) -> None:
    # The event's last frame is 3 and lasts to 0.4 s; an opening before 1.4 s, frame 14, counts:
    # after `gap` frames it opens at frame 4 + gap + 2.
    result = detect(clip("...." + "." * gap + "###" + "." * 20, "..##"))
    assert result.found == found
    assert result.false_alarms == 1 - found
    if found:
        assert result.delay_frames == (4 + gap + 2 - 2,)


def test_the_first_alarm_counts_for_the_delay_and_one_alarm_may_find_two_events() -> None:
    twice = detect(clip("....###" + "." * 30 + "####", "." + "#" * 40))
    assert (twice.found, twice.alarms, twice.false_alarms) == (1, 2, 0)
    assert twice.delay_frames == (5,)
    both = detect(clip("#" * 40, ".####" + "." * 20 + "####"))
    assert (both.found, both.total, both.alarms) == (2, 2, 1)
    assert both.delay_frames == (1, 0)


@pytest.mark.parametrize(("gap", "events"), [(9, 1), (10, 2)])
def test_gaps_below_one_second_are_closed(gap: int, events: int) -> None:
    times, _, labels = clip("", "##" + "." * gap + "###")
    found = truth_events(times, labels)
    assert len(found) == events
    assert (found[0].first, found[-1].end) == (0, gap + 5)
    assert found[-1].end_s == pytest.approx((gap + 5) / 10)


def test_gaps_are_measured_in_seconds() -> None:
    times, _, labels = clip("", "##" + "." * 20 + "###", fps=25.0)
    assert len(truth_events(times, labels)) == 1
    assert len(truth_events(times, labels, max_gap_s=0.5)) == 2


def test_false_alarms_are_counted_per_hour_of_normal_video() -> None:
    quiet = clip("." * 3600, "")
    noisy = clip("###" + "." * 3590 + "###" + "." * 4, "." * 1800 + "#" * 1800)
    found = detect(quiet, noisy)
    assert (found.alarms, found.false_alarms, found.total, found.found) == (2, 1, 1, 1)
    assert found.normal_hours == pytest.approx((3600 + 1800) / 10 / 3600)
    assert found.false_alarms_per_hour == pytest.approx(1 / 0.15)
    assert found.interval == pytest.approx(
        (chi2.ppf(0.025, 2) / 2 / 0.15, chi2.ppf(0.975, 4) / 2 / 0.15)
    )


def test_no_false_alarm_still_has_an_upper_limit() -> None:
    found = detect(clip("." * 36_000, ""))
    assert found.false_alarms_per_hour == 0.0
    assert found.interval == (0.0, pytest.approx(3.6889, abs=1e-4))


def test_zero_events_and_zero_normal_video_are_defined() -> None:
    none = detect(clip("." * 20, ""))
    assert (none.found, none.total, none.delay_frames_median, none.delay_frames_max) == (
        0,
        0,
        None,
        None,
    )
    only = detect(clip("." * 20, "#" * 20))
    assert (only.false_alarms_per_hour, only.interval) == (None, None)
    nothing = event_detection([], RULE)
    assert (nothing.total, nothing.false_alarms_per_hour) == (0, None)
    one_frame = detect(clip("#", "#"))
    assert (one_frame.total, one_frame.found) == (1, 0)


def test_median_and_largest_delay() -> None:
    found = detect(
        clip("###" + "." * 20, "####"),
        clip("...." + "###" + "." * 20, "#######"),
        clip("." * 10, "####"),
    )
    assert found.delay_frames == (2, 6)
    assert (found.delay_frames_median, found.delay_frames_max) == (4.0, 6)
    assert (found.found, found.total) == (2, 3)


def test_frames_that_could_not_be_read_leave_the_times_right() -> None:
    times, scores, labels = clip("....####" + "." * 20, "..######")
    keep = np.ones(times.size, dtype=bool)
    keep[3] = False
    found = detect((times[keep], scores[keep], labels[keep]))
    assert found.delay_s == pytest.approx((0.4,))
    assert found.total == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("#.", max_size=60), st.text("#.", max_size=60)), max_size=4))
def test_counts_fit_together(patterns: list[tuple[str, str]]) -> None:
    clips = [clip(*pattern) for pattern in patterns]
    found = event_detection(clips, RULE)
    assert 0 <= found.found <= found.total
    assert 0 <= found.false_alarms <= found.alarms
    assert len(found.delay_frames) == len(found.delay_s) == found.found
    assert all(delay >= 0 for delay in found.delay_frames)
    if found.found == 0:
        assert found.false_alarms == found.alarms
    again = event_detection(clips[::-1], RULE)
    assert (again.found, again.false_alarms) == (found.found, found.false_alarms)
    assert sorted(again.delay_s) == pytest.approx(sorted(found.delay_s))


@settings(deadline=None)
@given(st.text("#.", min_size=2, max_size=80), st.integers(0, 15))
def test_truth_events_cover_the_labels_and_keep_their_distance(label: str, gap: int) -> None:
    times, _, labels = clip("", label)
    events = truth_events(times, labels, max_gap_s=gap / 10)
    covered = np.zeros(labels.size, dtype=bool)
    for event in events:
        covered[event.first : event.end] = True
        assert labels[event.first]
        assert labels[event.end - 1]
    assert (covered | ~labels).all()
    for one, other in itertools.pairwise(events):
        assert other.first - one.end >= max(gap, 1)


def test_unequal_lengths_are_refused() -> None:
    times, scores, labels = clip("...", "...")
    with pytest.raises(DataError, match="3 times, 3 scores and 2 labels"):
        detect((times, scores, labels[:2]))


def test_labels_that_are_not_bool_are_refused() -> None:
    times, scores, labels = clip("...", "...")
    with pytest.raises(DataError, match="must be bool"):
        detect((times, scores, labels.astype(np.int64)))
