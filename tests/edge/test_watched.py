"""One camera in the loop: what its states, sizes and gaps do to its events and its memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.clock import ManualClock
from support.feeds import SaidFeed
from support.scores import PlayedView, detector, frame, scored

from edge.capture.camera_state import Change
from edge.events.clips import ClipKeeper
from edge.events.fault import CameraFault, FaultTracker
from edge.events.film import FilmSpec
from edge.events.recorder import Message
from edge.events.tracker import EventTracker, Report
from edge.watched import WatchedCamera


class Bench:
    def __init__(self, film: FilmSpec | None = None) -> None:
        self.clock = ManualClock()
        self.feed = SaidFeed()
        self.view = PlayedView("yard")
        self.camera = WatchedCamera(
            name="yard",
            feed=self.feed,
            view=self.view,
            tracker=EventTracker(
                device="gate-01", camera="yard", detector=detector(), clock=self.clock
            ),
            faults=FaultTracker(device="gate-01", camera="yard", clock=self.clock),
            clips=ClipKeeper(film),
            clock=self.clock,
        )
        self.number = 0

    def play(self, count: int, score: float, *, size: tuple[int, int] = (40, 60)) -> list[Message]:
        reports: list[Message] = []
        for _ in range(count):
            one = replace(frame(self.number), bgr=np.zeros((*size, 3), np.uint8))
            self.number += 1
            fit, early = self.camera.admit(one)
            reports += early
            if fit:
                reports += self.camera.scored(one, scored(one, score))
        return reports

    def change(self, state: str, reason: str | None = None) -> list[Message]:
        self.feed.changes.append(Change(state, reason, self.clock.now_s))  # type: ignore[arg-type]
        return self.camera.follow()


def ends(messages: list[Message]) -> list[tuple[str, str | None]]:
    return [(m.event.phase, m.event.reason) for m in messages if isinstance(m, Report)]


def faults(messages: list[Message]) -> list[tuple[str, str, str | None]]:
    return [(m.phase, m.cause, m.reason) for m in messages if isinstance(m, CameraFault)]


def test_lost_and_frozen_end_the_open_event_and_stale_does_not() -> None:
    for state, reason in (("lost", "camera_lost"), ("frozen", "camera_frozen")):
        bench = Bench()
        bench.change("live")
        assert ends(bench.play(5, 5.0)) == [("start", None)]
        assert bench.feed.busy
        assert bench.change("stale", "no_frames") == []
        assert ends(bench.change(state, "no_frames")) == [("end", reason)]
        assert not bench.feed.busy
        assert ends(bench.change("backoff")) == []


def test_a_new_size_ends_the_event_and_forgets_the_past() -> None:
    bench = Bench()
    bench.play(5, 5.0)
    reports = bench.play(5, 5.0, size=(80, 120))
    assert ends(reports) == [("end", "geometry_changed"), ("start", None)]
    assert bench.view.resets == 1
    assert bench.camera.status().flags == ()


def test_another_aspect_ratio_is_not_scored_until_it_is_back() -> None:
    bench = Bench()
    bench.change("live")
    bench.play(5, 1.0)
    messages = bench.play(20, 5.0, size=(60, 60))
    assert ends(messages) == []
    assert faults(messages) == [("start", "recommission_required", None)]  # never silent
    assert bench.camera.status().flags == ("recommission_required",)
    assert bench.camera.frames == 5
    messages = bench.play(5, 5.0)
    assert ends(messages) == [("start", None)]
    assert faults(messages) == [("end", "recommission_required", "recovered")]
    assert bench.camera.status().flags == ()


def test_the_event_ends_before_the_fault_begins_that_ended_it() -> None:
    bench = Bench()
    bench.change("live")
    bench.play(5, 5.0)
    messages = bench.change("lost", "no_frames")
    assert [type(message) for message in messages] == [Report, CameraFault]
    assert faults(messages) == [("start", "no_frames", None)]
    assert faults(bench.change("backoff", "no_frames")) == []
    assert faults(bench.change("connecting")) == []
    assert faults(bench.change("live")) == [("end", "no_frames", "recovered")]


def test_a_camera_that_is_given_up_leaves_no_fault_open() -> None:
    bench = Bench()
    bench.change("frozen", "picture_unchanged")
    assert faults(bench.camera.retire("disabled", "stopped")) == [
        ("end", "picture_unchanged", "stopped")
    ]
    assert bench.camera.events == 0


def test_another_cause_is_told_in_time_though_the_camera_does_not_change_any_more() -> None:
    bench = Bench()
    bench.change("lost", "no_frames")
    assert bench.change("quarantined", "refused") == []
    told: list[Message] = []
    for _ in range(120):
        bench.clock.turn(1.0)
        told += bench.camera.follow()
    assert faults(told) == [("update", "refused", None)]


def test_a_recording_that_breaks_is_no_camera_fault() -> None:
    bench = Bench()
    bench.feed.live = False
    assert bench.change("lost", "camera_lost") == []


def test_a_new_epoch_forgets_the_past_and_keeps_the_event() -> None:
    bench = Bench()
    bench.play(5, 5.0)
    bench.feed.epoch = 2
    assert bench.play(1, 5.0) == []
    assert bench.view.resets == 1
    bench.play(1, 5.0)
    assert bench.view.resets == 1


def test_a_lost_camera_lets_go_of_an_end_that_waits_for_its_clip() -> None:
    bench = Bench(FilmSpec(post_s=60.0))
    bench.play(5, 5.0)
    assert ends(bench.play(40, 1.0)) == []
    reports = bench.change("lost", "capture_failed")
    assert ends(reports) == [("end", "normal")]
    assert isinstance(reports[0], Report)
    assert len(reports[0].film) > 5


def test_changes_are_told_once_with_the_time_at_which_they_happened() -> None:
    bench = Bench()
    first = bench.camera.changed()
    assert first is not None
    assert first.state == "connecting"
    assert bench.camera.changed() is None
    happened = bench.clock.wall
    bench.feed.changes.append(Change("live", None, bench.clock.now_s))
    bench.clock.turn(1.5)
    bench.camera.follow()
    told = bench.camera.changed()
    assert told is not None
    assert (told.state, told.since) == ("live", happened)
    for fps, told_again in ((9.0, False), (12.0, False), (4.0, True), (None, True), (4.0, True)):
        bench.feed.fps = fps
        assert (bench.camera.changed() is not None) == told_again, fps
    bench.feed.flags.append("dark")
    assert bench.camera.changed() is not None
