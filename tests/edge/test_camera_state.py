"""The states of a camera, with the clock and the dice in the test's hand."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.camera_state import CameraMachine, Patience


class Hand:
    """A machine at a time that the test moves; frames come 10 a second."""

    def __init__(self, **limits: float) -> None:
        self.now = 100.0
        self.drawn: list[tuple[float, float]] = []
        self.machine = CameraMachine(Patience(**limits), draw=self.draw)
        self.machine.start(self.now)
        self.number = 0
        self.attempt = 1

    def draw(self, low: float, high: float) -> float:
        self.drawn.append((low, high))
        return high

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.machine.tick(self.now)

    def frames(self, seconds: float, *, still: bool = False, fps: float = 10.0) -> None:
        begin = self.now
        for _ in range(round(seconds * fps)):
            self.wait(1 / fps)
            if self.machine.attempt != self.attempt:  # a new process counts from 1
                self.attempt, self.number = self.machine.attempt, 0
            self.number += 1
            self.machine.frame(
                self.now,
                number=self.number,
                still_s=self.now - begin if still else 0.0,
                changes=0 if still else self.number,
            )

    @property
    def states(self) -> list[tuple[str, str | None]]:
        return [(change.state, change.reason) for change in self.machine.drain()]


def test_the_first_frame_makes_a_camera_live() -> None:
    hand = Hand()
    assert (hand.machine.state, hand.machine.attempt) == ("connecting", 1)
    hand.frames(1.0)
    assert hand.states == [("connecting", None), ("live", None)]
    assert hand.machine.fps == pytest.approx(10.0)


def test_a_camera_that_never_shows_a_frame_is_tried_again_and_again() -> None:
    hand = Hand(connect_s=15.0, backoff_max_s=60.0)
    for _ in range(6):
        hand.wait(15.1)
        hand.wait(hand.machine._wait_s)
    assert hand.machine.attempt == 7
    assert hand.states[:4] == [
        ("connecting", None),
        ("lost", "open_timeout"),
        ("backoff", "open_timeout"),
        ("connecting", None),
    ]
    # Decorrelated jitter: between 1 s and three times the pause before, at most 60 s.
    assert hand.drawn == [
        (1.0, 3.0),
        (1.0, 9.0),
        (1.0, 27.0),
        (1.0, 81.0),
        (1.0, 180.0),
        (1.0, 180.0),
    ]


def test_an_instant_refusal_waits_as_long() -> None:
    hand = Hand()
    hand.machine.failed(hand.now, "capture_failed")
    assert hand.machine.state == "backoff"
    hand.wait(2.9)
    assert hand.machine.state == "backoff"
    hand.wait(0.2)
    assert (hand.machine.state, hand.machine.attempt) == ("connecting", 2)


def test_pauses_start_small_again_only_after_a_minute_of_life() -> None:
    hand = Hand()
    for _ in range(3):
        hand.machine.failed(hand.now, "x")
        hand.wait(100.0)
    hand.frames(59.0)
    hand.machine.failed(hand.now, "x")
    assert hand.drawn[-1] == (1.0, 81.0)
    hand.wait(100.0)
    hand.frames(61.0)
    hand.machine.failed(hand.now, "x")
    assert hand.drawn[-1] == (1.0, 3.0)


def test_silence_is_stale_then_lost_and_a_frame_in_between_heals_it() -> None:
    hand = Hand(stale_s=2.0, lost_s=10.0)
    hand.frames(1.0)
    hand.wait(1.9)
    assert hand.machine.state == "live"
    hand.wait(0.2)
    assert hand.machine.state == "stale"
    hand.wait(9.0)
    hand.frames(0.1)
    assert hand.machine.state == "live"
    hand.wait(2.1)
    hand.wait(10.1)
    assert hand.states[1:] == [
        ("live", None),
        ("stale", "no_frames"),
        ("live", None),
        ("stale", "no_frames"),
        ("lost", "no_frames"),
        ("backoff", "no_frames"),
    ]


def test_a_slow_camera_is_no_dead_camera() -> None:
    hand = Hand(stale_s=2.0)
    hand.frames(30.0, fps=0.5)
    assert hand.machine.state == "live"
    hand.wait(9.0)
    assert hand.machine.state == "live"
    hand.wait(1.5)
    assert hand.machine.state == "stale"


@pytest.mark.parametrize("fps", [0.4, 0.2, 0.1])
def test_a_camera_slower_than_the_patience_is_soon_known_to_be_slow(fps: float) -> None:
    hand = Hand(stale_s=2.0, lost_s=10.0)
    hand.machine.frame(hand.now, number=1, still_s=0.0, changes=1)
    hand.number = 1
    for _ in range(20):
        for _ in range(round(10 / fps)):  # time is looked at ten times a second
            hand.wait(0.1)
        hand.number += 1
        hand.machine.frame(hand.now, number=hand.number, still_s=0.0, changes=hand.number)
    states = [state for state, _ in hand.states]
    # Two gaps that were taken for silence, and from then on it is as it should be.
    assert states == ["connecting", "live", "stale", "live", "stale", "live"]
    assert hand.machine.fps == pytest.approx(fps)
    hand.wait(5.0 / fps + 0.2)
    assert hand.machine.state == "stale"


def test_one_gap_of_a_quick_camera_makes_it_no_slow_one() -> None:
    hand = Hand(stale_s=2.0, lost_s=10.0)
    for _ in range(5):
        hand.frames(2.0)
        hand.wait(2.1)
        hand.wait(3.0)
    assert hand.machine.fps == pytest.approx(10.0)


def test_a_picture_that_stands_still_is_frozen_gets_one_restart_and_heals_by_a_change() -> None:
    hand = Hand(frozen_s=20.0, frozen_retry_s=300.0)
    hand.frames(1.0)
    hand.frames(20.5, still=True)
    assert (hand.machine.state, hand.machine.attempt) == ("frozen", 2)
    hand.frames(290.0, still=True)
    assert (hand.machine.state, hand.machine.attempt) == ("frozen", 2)
    hand.frames(20.0, still=True)
    assert (hand.machine.state, hand.machine.attempt) == ("frozen", 3)
    hand.frames(0.2)
    assert hand.states == [
        ("connecting", None),
        ("live", None),
        ("frozen", "picture_unchanged"),
        ("live", None),
    ]


def test_a_frozen_camera_that_falls_silent_is_lost() -> None:
    hand = Hand(frozen_s=5.0, connect_s=15.0, lost_s=10.0)
    hand.frames(6.0, still=True)
    assert hand.machine.state == "frozen"
    hand.wait(25.1)
    assert hand.machine.state == "backoff"


def test_long_still_spans_that_ended_well_are_this_cameras_habit() -> None:
    hand = Hand(frozen_s=20.0)
    for _ in range(3):
        hand.frames(15.0, still=True)
        hand.frames(0.2)
    assert hand.machine.frozen_after_s == pytest.approx(45.0, abs=0.5)
    hand.frames(44.0, still=True)
    assert hand.machine.state == "live"
    hand.frames(140.0, still=True)  # the habit is 44 s now
    assert hand.machine.state == "frozen"


def test_a_still_scene_between_rare_key_frames_is_not_frozen() -> None:
    hand = Hand(frozen_s=20.0)
    hand.frames(1.0)
    hand.machine.frame(hand.now + 0.1, number=99, still_s=0.0, changes=9, key_frame_s=12.0)
    assert hand.machine.frozen_after_s == 36.0


def test_a_refused_login_is_not_hammered() -> None:
    hand = Hand(quarantine_s=300.0)
    hand.machine.failed(hand.now, "refused", refused=True)
    assert not hand.machine.capturing
    hand.wait(299.0)
    assert hand.machine.state == "quarantined"
    hand.wait(2.0)
    assert (hand.machine.state, hand.machine.attempt) == ("connecting", 2)


def test_a_frame_of_an_old_attempt_changes_nothing() -> None:
    hand = Hand()
    hand.frames(1.0)
    hand.machine.failed(hand.now, "x")
    hand.machine.frame(hand.now, number=99, still_s=0.0, changes=99)
    assert hand.machine.state == "backoff"


STEPS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0.0, 400.0)),
    st.tuples(st.just("frame"), st.floats(0.0, 50.0)),
    st.tuples(st.sampled_from(["fail", "refuse", "unkillable", "renew"]), st.just(0.0)),
)


@given(st.lists(STEPS, max_size=60), st.integers(0, 2**32))
def test_whatever_happens_a_camera_is_tried_again(
    steps: list[tuple[str, float]], seed: int
) -> None:
    machine = CameraMachine(Patience(), draw=random.Random(seed).uniform)
    now, number = 0.0, 0
    machine.start(now)
    for kind, value in steps:
        if kind == "wait":
            now += value
            machine.tick(now)
        elif kind == "frame":
            number += 1
            machine.frame(now, number=number, still_s=value, changes=number)
        elif kind in ("fail", "refuse"):
            machine.failed(now, "x", refused=kind == "refuse")
        elif kind == "unkillable":
            machine.unkillable(now)
        else:
            machine.renew(now, "memory")
    attempt = machine.attempt
    # Nothing is heard any more: within the longest chain of limits a new attempt is made.
    for _ in range(1200):
        now += 1.0
        machine.tick(now)
    assert machine.attempt > attempt
    names = [change.state for change in machine.drain()]
    for before, after in itertools.pairwise(names):
        assert (before == "lost") == (after in ("backoff", "quarantined"))
