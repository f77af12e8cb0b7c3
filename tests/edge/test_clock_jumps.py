"""The wall clock is set while an event lasts: nothing but what is read by people may notice."""

from __future__ import annotations

import datetime
import functools
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from support.clock import ManualClock
from support.scores import detector, frame, scored

from edge.events.event import Event, load_schema
from edge.events.tracker import EventTracker
from edge.publish.outbox import Outbox

VALIDATOR = jsonschema.Draft202012Validator(load_schema())
HOUR_S = 3600.0
TWO_EVENTS = ([1.0] * 10 + [5.0] * 30 + [6.5] * 30 + [1.0] * 40) * 2


def play(clock: ManualClock, *, jump_s: float, at: int, live: bool) -> list[Event]:
    """Two events of six seconds; before frame `at` the wall clock is set by `jump_s`."""
    tracker = EventTracker(device="gate-01", camera="yard", detector=detector(), clock=clock)
    events = []
    for index, score in enumerate(TWO_EVENTS):
        clock.turn(0.1)
        if index == at:
            clock.wall += datetime.timedelta(seconds=jump_s)
        one = replace(frame(index), captured_at=clock.wall if live else None)
        events += [report.event for report in tracker.update(one, scored(one, score))]
    return events


@functools.cache
def undisturbed(*, live: bool) -> list[Event]:
    return play(ManualClock(), jump_s=0.0, at=0, live=live)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("at", [9, 12, 71, 85])
def test_events_and_their_lengths_are_the_same_with_and_without_a_jump(
    tmp_path: Path, jump_s: float, at: int, live: bool
) -> None:
    still, clock = undisturbed(live=live), ManualClock()
    jumped = play(clock, jump_s=jump_s, at=at, live=live)

    def told(events: list[Event]) -> list[tuple[object, ...]]:
        return [(e.phase, e.rev, e.duration_s, e.position_s, e.peak_score) for e in events]

    assert [e.phase for e in still] == ["start", "update", "end"] * 2
    assert told(jumped) == told(still)
    ends = [event for event in jumped if event.ended_at is not None]
    for end in ends:
        assert end.ended_at is not None
        lasted_s = (end.ended_at - end.started_at).total_seconds()
        assert lasted_s == pytest.approx(end.duration_s, abs=0.11)
    assert len({event.id for event in jumped}) == 2

    path = tmp_path / "o.sqlite3"
    with Outbox(path, device="gate-01", topic="t", clock=clock) as outbox:
        for event in jumped:
            outbox.append(event.payload())
            clock.wall -= datetime.timedelta(seconds=jump_s)
        rows = outbox.fetch(after=0, limit=99)
    assert [row.seq for row in rows] == list(range(1, len(jumped) + 1))
    for row in rows:
        VALIDATOR.validate(json.loads(row.payload))
