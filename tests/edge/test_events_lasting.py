"""What stays unlike normal: it alarms once, hides nothing else, and is told."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import ManualClock
from support.feeds import SaidFeed
from support.scores import SHAPE, THRESHOLD, PlayedView, detector, frame, stream

from edge.capture.camera_state import Change
from edge.events.clips import ClipKeeper
from edge.events.event import Event
from edge.events.fault import CameraFault, FaultTracker
from edge.events.lasting import GAP_S, NORMAL_S, STAYED_S, LastingCells
from edge.events.recorder import Message
from edge.events.tracker import MAX_EVENT_S, EventTracker, Report
from edge.frames import ScoreMap
from edge.watched import WatchedCamera
from engines.model_spec import FusionSpec

FPS = 2.0
LOUD = 5.0
CAR, THIEF = (0, 0), (3, 5)


def scored(index: int, cells: dict[tuple[int, int], float]) -> ScoreMap:
    grid = np.zeros(SHAPE, np.float32)
    for cell, score in cells.items():
        grid[cell] = score
    top = float(grid.max())
    return ScoreMap(
        frame_index=index,
        time_s=index / FPS,
        map=grid,
        score=top,
        raw_score=top,
        streams={"appearance": stream(grid), "motion": stream(grid)},
    )


class Yard:
    """A live camera whose map the test paints."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.tracker = EventTracker(
            device="gate-01", camera="yard", detector=detector(), clock=self.clock
        )
        self.feed = SaidFeed()
        self.camera = WatchedCamera(
            name="yard",
            feed=self.feed,
            view=PlayedView("yard"),
            tracker=self.tracker,
            faults=FaultTracker(device="gate-01", camera="yard", clock=self.clock),
            clips=ClipKeeper(None),
            clock=self.clock,
        )
        self.feed.changes.append(Change("live", None, self.clock.now_s))
        self.camera.follow()
        self.number = 0
        self.scores: list[float] = []

    def watch(self, seconds: float, *cells: tuple[int, int]) -> list[Message]:
        messages: list[Message] = []
        for _ in range(round(seconds * FPS)):
            one = frame(self.number, fps=FPS)
            full = scored(self.number, dict.fromkeys(cells, LOUD))
            rest = self.camera.without_lasting(full)
            self.scores.append(rest.score)
            messages += self.camera.scored(one, rest)
            self.number += 1
            self.clock.turn(1 / FPS)
        return messages


def events(messages: list[Message]) -> list[Event]:
    return [one.event for one in messages if isinstance(one, Report)]


def phases(messages: list[Message]) -> list[tuple[str, str | None]]:
    return [(event.phase, event.reason) for event in events(messages)]


def test_a_parked_car_alarms_once_and_the_camera_says_that_it_has_changed() -> None:
    yard = Yard()
    messages = yard.watch(3600.0, CAR)
    assert phases(messages) == [("start", None), ("end", "scene_changed")]
    assert events(messages)[-1].duration_s == MAX_EVENT_S
    assert yard.camera.status().flags == ("scene_changed",)
    assert yard.scores[-1] < THRESHOLD  # what the page draws is what alarms


def test_who_comes_beside_the_car_alarms_as_ever() -> None:
    yard = Yard()
    yard.watch(400.0, CAR)
    messages = yard.watch(5.0, CAR, THIEF) + yard.watch(10.0, CAR)
    assert phases(messages) == [("start", None), ("end", "normal")]
    start = events(messages)[0]
    assert start.previous_id is None
    assert [(round(c.x * SHAPE[1]), round(c.y * SHAPE[0])) for c in start.cells] == [(5, 3)]


def test_when_the_car_has_left_its_place_is_watched_again() -> None:
    yard = Yard()
    yard.watch(400.0, CAR)
    assert phases(yard.watch(NORMAL_S - 1.0)) == []
    assert phases(yard.watch(5.0, CAR)) == []  # it was only hidden for a while
    assert phases(yard.watch(NORMAL_S + 1.0)) == []
    assert yard.camera.status().flags == ()
    assert phases(yard.watch(5.0, CAR)) == [("start", None)]


def test_what_moves_on_continues_as_an_event_that_names_the_one_before() -> None:
    yard = Yard()
    messages: list[Message] = []
    for turn in range(130):  # a loiterer who stays nowhere for long
        messages += yard.watch(5.0, (0, turn % 6) if turn % 12 < 6 else (3, turn % 6))
    first_start, first_end, second_start, second_end, third_start = events(messages)
    assert (first_end.reason, second_end.reason) == ("max_duration", "max_duration")
    assert first_end.duration_s == second_end.duration_s == MAX_EVENT_S
    assert first_start.previous_id is None
    assert second_start.previous_id == second_end.previous_id == first_start.id
    assert third_start.previous_id == second_start.id
    assert len({first_start.id, second_start.id, third_start.id}) == 3
    assert yard.camera.status().flags == ()


def test_an_event_that_is_cut_and_stops_has_no_successor() -> None:
    yard = Yard()
    for turn in range(60):
        yard.watch(5.0, (0, turn % 6))
    messages = yard.watch(1 / FPS, CAR)
    assert phases(messages)[-1] == ("end", "max_duration")
    yard.watch(10.0)
    assert events(yard.watch(5.0, THIEF))[0].previous_id is None


def test_most_of_the_picture_changed_is_a_fault_until_it_is_normal_again() -> None:
    yard = Yard()
    everywhere = tuple((row, column) for row in range(SHAPE[0]) for column in range(SHAPE[1]))
    messages = yard.watch(400.0, *everywhere)
    faults = [one for one in messages if isinstance(one, CameraFault)]
    assert [(one.phase, one.cause) for one in faults] == [("start", "scene_changed")]
    assert "commission it again" in faults[0].why
    faults = [one for one in yard.watch(NORMAL_S + 2.0) if isinstance(one, CameraFault)]
    assert [(one.phase, one.reason) for one in faults] == [("end", "recovered")]
    assert phases(yard.watch(5.0, THIEF)) == [("start", None)]


def test_a_camera_that_was_away_does_not_alarm_for_the_car_again() -> None:
    yard = Yard()
    yard.watch(400.0, CAR)
    yard.tracker.finish("camera_lost")
    yard.number = 0  # its source counts from the start
    assert phases(yard.watch(400.0, CAR)) == []
    yard.number += round(3600 * FPS)  # an hour without frames
    assert phases(yard.watch(400.0, CAR)) == []


def stayed(above: list[bool], times: list[float]) -> bool:
    """Rule 1 and 2 for one cell, said once more: back from the newest frame, no long gap."""
    began = last = None
    for time, on in zip(times, above, strict=True):
        if on:
            began = time if began is None else began
            last = time
        elif last is not None and time - last > GAP_S:
            began = None
    return began is not None and times[-1] - began >= STAYED_S


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shares=st.lists(st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]), min_size=6, max_size=6),
    step=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
)
def test_what_is_held_is_what_has_stayed_and_its_neighbours(
    seed: int, shares: list[float], step: float
) -> None:
    random = np.random.default_rng(seed)
    count = int(130.0 / step)
    above = random.random((count, 2, 3)) < np.array(shares).reshape(2, 3)
    times = [index * step for index in range(count)]
    cells = LastingCells(THRESHOLD, FusionSpec())
    for index, on in enumerate(above):
        grid = np.where(on, LOUD, 0.0).astype(np.float32)
        full = ScoreMap(index, times[index], grid, LOUD, LOUD)
        assert cells.watch(full) is full  # nothing is held yet
    expected = np.zeros((4, 5), bool)
    for row in range(2):
        for column in range(3):
            if stayed([bool(one) for one in above[:, row, column]], times):
                expected[row : row + 3, column : column + 3] = True
    expected = expected[1:-1, 1:-1]
    cells.hold()
    assert cells.share == expected.mean()
    rest = cells.watch(ScoreMap(count, times[-1], np.full((2, 3), LOUD, np.float32), LOUD, LOUD))
    assert (rest.map > THRESHOLD).tolist() == (~expected).tolist()
    assert (rest.score > THRESHOLD) == (not expected.all())
