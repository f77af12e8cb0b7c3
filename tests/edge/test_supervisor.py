"""The supervisor over capture processes that do what the test says; one turn at a time."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs
from support.broker import wait_until
from support.cameras import ScriptedCapture, TimedCapture
from support.clock import ManualClock

from edge.capture.camera_state import CameraMachine, Patience
from edge.capture.process import News
from edge.capture.supervisor import CameraSupervisor
from edge.clock import SystemClock


class Stage:
    def __init__(self, *, memory_max: int = 100, **limits: float) -> None:
        self.clock = ManualClock()
        self.captures: list[ScriptedCapture] = []
        self.failing: OSError | None = None
        patience = Patience(**limits)
        self.supervisor = CameraSupervisor(
            name="yard",
            launch=self.launch,
            patience=patience,
            clock=self.clock,
            announce=threading.Event(),
            memory_max=memory_max,
            machine=CameraMachine(patience, draw=lambda low, _high: low),
        )

    def launch(self) -> ScriptedCapture:
        if self.failing is not None:
            raise self.failing
        self.captures.append(ScriptedCapture())
        return self.captures[-1]

    @property
    def capture(self) -> ScriptedCapture:
        return self.captures[-1]

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.turn(seconds)
        self.supervisor.turn(0.0)

    def show(self, number: int, **facts: float) -> None:
        self.capture.show(number, mono_s=self.clock.now_s, **facts)
        self.turn()

    @property
    def states(self) -> list[str]:
        return [change.state for change in self.supervisor.drain()]


def test_the_newest_frame_is_given_once_and_older_ones_are_counted() -> None:
    stage = Stage()
    stage.turn()
    assert stage.supervisor.take() is None
    stage.show(1)
    stage.clock.turn(0.5)
    stage.show(6)
    frame = stage.supervisor.take()
    assert frame is not None
    assert (frame.index, frame.time_s, stage.supervisor.dropped) == (5, 0.0, 5)
    assert stage.supervisor.take() is None
    assert stage.states == ["connecting", "live"]


def test_a_failed_process_is_replaced_after_a_pause_and_index_and_time_run_on() -> None:
    stage = Stage(backoff_min_s=2.0)
    stage.turn()
    stage.show(4)
    first = stage.supervisor.take()
    stage.capture.queue.append(News(failure="gone"))
    stage.turn()
    stage.turn(1.9)
    assert len(stage.captures) == 1
    assert stage.captures[0].stops == 1
    stage.turn(0.2)
    assert len(stage.captures) == 2
    stage.show(1)
    second = stage.supervisor.take()
    assert first is not None
    assert second is not None
    assert second.index == first.index + 1
    assert second.time_s == pytest.approx(2.1)
    assert stage.supervisor.epoch == 2
    assert stage.supervisor.losses == {"capture_failed": 1}
    assert stage.states == ["connecting", "live", "lost", "backoff", "connecting", "live"]


def test_a_gap_begins_a_new_epoch() -> None:
    stage = Stage(stale_s=2.0)
    stage.turn()
    stage.show(1)
    stage.supervisor.take()
    stage.turn(2.5)
    assert stage.supervisor.epoch == 1
    stage.show(2)
    stage.supervisor.take()
    assert stage.supervisor.epoch == 2
    assert len(stage.captures) == 1


def test_nothing_is_given_while_the_picture_is_frozen() -> None:
    stage = Stage(frozen_s=20.0)
    stage.turn()
    stage.show(1)
    stage.show(2, still_s=21.0, changes=0)
    stage.turn()
    assert len(stage.captures) == 2
    stage.show(1, changes=0)
    assert stage.supervisor.take() is None
    stage.show(2, changes=1)
    assert stage.supervisor.take() is not None
    assert stage.states[-2:] == ["frozen", "live"]


def test_a_process_that_cannot_be_killed_gets_no_second_one_beside_it() -> None:
    stage = Stage(connect_s=15.0, quarantine_s=300.0)
    stage.turn()
    stage.capture.dies = False
    stage.turn(16.0)
    stage.turn()
    assert stage.states[-1] == "quarantined"
    stops = stage.capture.stops
    for _ in range(20):
        stage.turn(10.0)
    assert (len(stage.captures), stage.capture.stops) == (1, stops)
    stage.turn(101.0)
    assert (len(stage.captures), stage.capture.stops) == (1, stops + 1)
    stage.captures[0].dies = True
    stage.turn(301.0)
    stage.turn()
    assert len(stage.captures) == 2
    assert stage.states[-1] == "connecting"


def test_a_process_that_died_after_all_is_let_go_and_not_told_again_and_again() -> None:
    stage = Stage(connect_s=15.0, quarantine_s=300.0)
    stage.turn()
    undead = stage.capture
    undead.dies = False
    stage.turn(16.0)
    stage.turn()
    assert stage.states[-1] == "quarantined"
    undead.dies = True
    undead.queue += [News(failure="the capture process ended with signal 9")] * 50
    for _ in range(20):
        stage.turn()
    assert len(undead.queue) == 49  # it is asked no more
    stage.turn(301.0)
    assert len(stage.captures) == 2


def test_no_process_to_be_had_is_a_loss_like_others() -> None:
    stage = Stage(backoff_min_s=1.0)
    stage.failing = OSError("out of processes")
    stage.turn()
    stage.turn()
    assert stage.states == ["connecting", "lost", "backoff"]
    stage.failing = None
    stage.turn(1.1)
    assert len(stage.captures) == 1


def test_a_leaking_process_is_replaced_when_no_event_is_open() -> None:
    stage = Stage(memory_max=100)
    stage.turn()
    stage.show(1)
    stage.supervisor.busy = True
    stage.capture.memory = 150
    stage.turn(11.0)
    stage.show(2)
    stage.turn()
    assert len(stage.captures) == 1
    stage.supervisor.busy = False
    stage.show(3)
    stage.turn(11.0)
    stage.turn()
    assert len(stage.captures) == 2
    assert stage.supervisor.losses == {}


def test_a_leaking_process_does_not_wait_for_ever() -> None:
    stage = Stage(memory_max=100)
    stage.turn()
    stage.supervisor.busy = True
    stage.capture.memory = 201
    stage.turn(11.0)
    stage.turn()
    assert len(stage.captures) == 2


def test_a_dark_picture_is_a_flag() -> None:
    stage = Stage()
    stage.turn()
    for number in range(1, 33):
        stage.show(number, luma_mean=3.0, luma_sd=1.0)
        stage.clock.turn(1.0)
    assert stage.supervisor.flags == ["dark"]
    stage.show(40, luma_mean=90.0, luma_sd=30.0)
    assert stage.supervisor.flags == []


def test_a_bug_in_the_supervisor_costs_a_pause_and_not_the_camera() -> None:
    patience = Patience(backoff_min_s=0.01, backoff_max_s=0.01)
    bugs, captures = [ZeroDivisionError(), KeyError("kind")], []

    def launch() -> TimedCapture:
        if bugs:
            raise bugs.pop()
        captures.append(TimedCapture(50.0))
        return captures[-1]

    announce = threading.Event()
    supervisor = CameraSupervisor(
        name="yard", launch=launch, patience=patience, clock=SystemClock(), announce=announce
    )
    with capture_logs() as logs:
        supervisor.start()
        wait_until(lambda: supervisor.take() is not None)
        supervisor.close()
    changes = supervisor.drain()
    lost = [change.reason for change in changes if change.state == "lost"]
    assert lost == ["internal_error", "internal_error"]
    assert changes[-1].state == "live"
    assert not supervisor.finished
    assert [line["event"] for line in logs].count("supervisor_failed") == 2
    assert captures[0].stopped


def test_a_process_that_talks_nonsense_is_replaced() -> None:
    stage = Stage(backoff_min_s=1.0)
    stage.turn()
    stage.capture.queue.append(News(failure="the capture process talks nonsense"))
    stage.turn()
    stage.turn(1.1)
    assert len(stage.captures) == 2
