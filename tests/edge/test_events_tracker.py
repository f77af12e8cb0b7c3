"""Scores to messages: one start, one end, updates by rule, the picture of the true peak."""

import datetime
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import ManualClock
from support.scores import THRESHOLD, alarm, detector, frame, scored

from calibration.alarm_rule import alarm_events
from edge.events.explain import top_cells
from edge.events.identifiers import moment_of, uuid7
from edge.events.tracker import EventTracker, Report

QUIET, LOUD = 1.0, 5.0


# Recordings of ten frames a second are watched ten times as fast.
WATCHING_S = 0.01


def play(scores: list[float], **changes: float) -> tuple[list[Report], EventTracker]:
    clock = ManualClock()
    tracker = EventTracker(
        device="gate-01", camera="yard", detector=detector(**changes), clock=clock
    )
    reports = []
    for index, score in enumerate(scores):
        one = frame(index)
        reports += tracker.update(one, scored(one, score))
        clock.turn(WATCHING_S)
    return reports, tracker


def test_an_event_starts_once_and_ends_once_with_its_times() -> None:
    reports, tracker = play([QUIET] * 5 + [LOUD] * 10 + [QUIET] * 30)
    assert [r.event.phase for r in reports] == ["start", "end"]
    start, end = (r.event for r in reports)
    assert start.id == end.id
    assert (start.rev, end.rev) == (1, 2)
    # Frames 5..14 are above at 10 frames per second; it opens at the third of them, falls quiet
    # one second after the last and is closed for good a further second later.
    assert (start.frame, start.position_s, start.started_position_s) == (7, 0.7, 0.5)
    assert start.duration_s == pytest.approx(0.2)
    assert (start.reason, start.ended_at) == (None, None)
    assert end.frame == 34
    assert end.duration_s == pytest.approx(1.9)
    assert end.reason == "normal"
    assert tracker.open_id is None


def test_the_wall_clock_of_a_recording_is_that_of_watching_and_never_in_the_future() -> None:
    scores = [QUIET] * 5 + [LOUD] * 10 + [QUIET] * 20 + [LOUD] * 200 + [QUIET] * 30
    reports, _ = play(scores)
    first_start, first_end, second_start, second_end = (r.event for r in reports)
    origin = ManualClock().wall

    def watched(frame_number: int) -> datetime.datetime:
        return origin + datetime.timedelta(seconds=WATCHING_S * frame_number)

    assert (first_start.started_at, first_start.at) == (watched(5), watched(7))
    assert (first_end.started_at, first_end.ended_at) == (watched(5), watched(24))
    assert first_end.at == watched(34)
    # The next event begins with the very next frame, and lasts longer than anything is kept.
    assert (second_start.started_at, second_start.at) == (watched(35), watched(37))
    assert (second_end.started_at, second_end.ended_at) == (watched(35), watched(244))


def test_a_clock_that_jumps_changes_wall_times_only() -> None:
    clock = ManualClock()
    tracker = EventTracker(device="gate-01", camera="yard", detector=detector(), clock=clock)
    reports = []
    for index, score in enumerate([LOUD] * 10 + [QUIET] * 30):
        one = frame(index)
        reports += tracker.update(one, scored(one, score))
        clock.turn(0.1)
        if index == 5:
            clock.wall += datetime.timedelta(days=20_000)
        if index == 15:
            clock.wall -= datetime.timedelta(days=40_000)
    start, end = (r.event for r in reports)
    assert (start.id, start.rev + 1) == (end.id, end.rev)
    assert end.duration_s == pytest.approx(1.9)
    assert (end.started_position_s, end.position_s) == (0.0, 2.9)


def test_two_frames_above_are_no_event() -> None:
    reports, _ = play([QUIET, LOUD, LOUD, QUIET] * 10)
    assert reports == []


def test_the_picture_is_the_highest_frame_and_is_sent_again_only_if_it_changed() -> None:
    reports, _ = play([LOUD, 6.0, LOUD] + [LOUD] * 20 + [8.5] + [LOUD] * 5 + [QUIET] * 30)
    start, end = reports
    assert start.peak is not None
    assert start.peak.frame.index == 1
    assert end.peak is not None
    assert end.peak.frame.index == 23
    assert (end.event.peak_score, end.event.peak_position_s) == (8.5, 2.3)
    assert end.event.score == QUIET
    unchanged, _ = play([LOUD] * 10 + [QUIET] * 30)
    assert unchanged[0].peak is not None
    assert unchanged[1].peak is None


def test_updates_come_at_most_every_five_seconds_and_only_when_the_peak_rose_by_one() -> None:
    rising = [LOUD + 0.1 * i for i in range(120)]
    reports, _ = play(rising + [QUIET] * 30)
    assert [r.event.phase for r in reports] == ["start", "update", "update", "end"]
    assert [r.event.position_s for r in reports[:3]] == pytest.approx([0.2, 5.2, 10.2])
    flat, _ = play([LOUD] * 120 + [QUIET] * 30)
    assert [r.event.phase for r in flat] == ["start", "end"]


def test_a_source_that_ends_or_is_lost_ends_its_event() -> None:
    reports, tracker = play([LOUD] * 6)
    assert tracker.open_id == reports[0].event.id
    (last,) = tracker.finish("camera_lost")
    assert (last.event.phase, last.event.reason) == ("end", "camera_lost")
    assert tracker.finish("stopped") == []


def test_live_frames_give_their_own_wall_clock() -> None:
    tracker = EventTracker(
        device="gate-01", camera="yard", detector=detector(), clock=ManualClock()
    )
    captured = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    reports = []
    for index in range(3):
        moment = captured + datetime.timedelta(seconds=index / 10)
        one = frame(index)
        one = type(one)(one.index, one.time_s, one.bgr, captured_at=moment)
        reports += tracker.update(one, scored(one, LOUD))
    assert reports[0].event.started_at == captured
    assert reports[0].event.at == captured + datetime.timedelta(seconds=0.2)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([0.0, 2.0, 3.0, 3.5, 4.0, 9.0]), max_size=120))
def test_the_tracker_tells_exactly_the_events_that_calibration_counts(scores: list[float]) -> None:
    reports, tracker = play(scores)
    reports += tracker.finish("source_ended")
    expected = alarm_events([i / 10 for i in range(len(scores))], scores, alarm())
    ends = [r.event for r in reports if r.event.phase == "end"]
    assert len([r for r in reports if r.event.phase == "start"]) == len(ends) == len(expected)
    for event, truth in zip(ends, expected, strict=True):
        assert event.peak_score == truth.peak_score
        assert event.started_position_s == truth.first_s
        assert event.peak_position_s == truth.peak_s
    # The picture shows the frame with the peak score, whatever was merged.
    pictured = {r.event.id: r.peak for r in reports if r.peak is not None}
    for event in ends:
        peak = pictured[event.id]
        assert peak is not None
        assert peak.scored.score == event.peak_score
    revisions: dict[str, int] = {}
    for report in reports:
        assert report.event.rev == revisions.get(report.event.id, 0) + 1
        revisions[report.event.id] = report.event.rev


def test_an_event_says_where_and_why() -> None:
    reports, _ = play([4.5] * 5)
    event = reports[0].event
    assert event.streams == pytest.approx({"appearance": 3.0, "motion": 6.0})
    # 1,200 normal samples stand behind the words: they prove 99.9 %, and no more.
    assert event.why == (
        "centre: moves unlike anything seen here; looks unlike 99.9 % of what was seen here"
    )
    assert list(event.streams) == ["motion", "appearance"]
    (cell,) = event.cells
    assert (cell.x, cell.y, cell.w, cell.h) == pytest.approx((2 / 6, 1 / 4, 1 / 6, 1 / 4))


def test_cells_are_the_highest_above_the_threshold_at_most_sixteen() -> None:
    one = scored(frame(0), 0.0)
    one.map[:] = THRESHOLD + 1.0
    one.map[2, 3] = 9.0
    cells = top_cells(one, THRESHOLD)
    assert len(cells) == 16
    assert cells[0].score == 9.0
    one.map[:] = 0.5
    assert len(top_cells(one, THRESHOLD)) == 1


def test_uuid7_is_version_7_unique_and_sorts_by_time() -> None:
    moment = datetime.datetime(2026, 7, 1, 21, 14, 3, 120_000, tzinfo=datetime.timezone.utc)
    many = [uuid7(moment) for _ in range(1000)]
    assert len(set(many)) == 1000
    assert {value.version for value in many} == {7}
    assert {value.variant for value in many} == {uuid.RFC_4122}
    assert moment_of(many[0]) == moment
    later = uuid7(moment + datetime.timedelta(milliseconds=1))
    assert all(str(value) < str(later) for value in many)
