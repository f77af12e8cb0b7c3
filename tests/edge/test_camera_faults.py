"""Faults of cameras as messages: when they begin and end, and what everybody makes of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jsonschema
import pytest
from support.clock import ManualClock

from edge.capture.camera_state import CameraState
from edge.events.event import end_after_restart, load_schema
from edge.events.fault import UPDATE_EVERY_S, CameraFault, FaultTracker
from edge.events.recorder import Recorder
from edge.publish.outbox import Outbox
from edge.watch import describe

VALIDATOR = jsonschema.Draft202012Validator(load_schema())


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.tracker = FaultTracker(device="gate-01", camera="yard", clock=self.clock)

    def see(
        self,
        state: CameraState,
        cause: str | None = None,
        *,
        after_s: float = 0.0,
        unfit: str | None = None,
    ) -> list[CameraFault]:
        self.clock.turn(after_s)
        return self.tracker.observe(state, cause, self.clock.now_s, unfit=unfit)


def said(faults: list[CameraFault]) -> list[tuple[str, int, str, str | None]]:
    return [(one.phase, one.rev, one.cause, one.reason) for one in faults]


def sent(fault: CameraFault, seq: int = 1) -> dict[str, object]:
    stream = "01a20402-9f98-7368-9395-3942bdd9b205"
    return {**fault.payload(), "stream_id": stream, "seq": seq}


def test_a_first_connection_and_a_late_picture_are_no_faults() -> None:
    bench = Bench()
    for state in ("connecting", "live", "stale", "live", "disabled"):
        assert bench.see(state, after_s=1.0) == []


@pytest.mark.parametrize(
    ("state", "cause", "words"),
    [
        ("lost", "open_timeout", "no picture came"),
        ("frozen", "picture_unchanged", "does not change"),
        ("quarantined", "refused", "refuses the login"),
    ],
)
def test_each_fault_begins_and_ends_once(state: CameraState, cause: str, words: str) -> None:
    bench = Bench()
    (start,) = bench.see(state, cause)
    assert bench.see("backoff", cause, after_s=1.0) == []
    assert bench.see("connecting", after_s=1.5) == []
    (end,) = bench.see("live", after_s=2.0)
    assert bench.see("live", after_s=1.0) == []
    assert said([start, end]) == [("start", 1, cause, None), ("end", 2, cause, "recovered")]
    assert (start.id, end.duration_s) == (end.id, 4.5)
    assert start.ended_at is None
    assert end.ended_at is not None
    assert (end.ended_at - end.started_at).total_seconds() == 4.5
    assert words in str(start.payload()["why"])
    for fault in (start, end):
        VALIDATOR.validate(sent(fault))


def test_another_cause_is_told_and_not_more_often_than_a_person_reads() -> None:
    bench = Bench()
    bench.see("lost", "no_frames")
    causes = itertools.cycle(["open_timeout", "capture_failed", "refused"])
    told: list[CameraFault] = []
    for _ in range(600):
        told += bench.see("lost", next(causes), after_s=1.0)
        told += bench.see("backoff")
    assert 8 <= len(told) <= 600 / UPDATE_EVERY_S
    assert {one.phase for one in told} == {"update"}
    assert [one.rev for one in told] == list(range(2, len(told) + 2))


def test_a_cause_that_came_too_soon_is_told_when_it_still_holds() -> None:
    bench = Bench()
    bench.see("lost", "no_frames")
    assert bench.see("quarantined", "refused", after_s=20.0) == []
    bench.clock.turn(UPDATE_EVERY_S - 21.0)
    assert bench.tracker.turn(bench.clock.now_s) == []
    bench.clock.turn(1.0)
    assert said(bench.tracker.turn(bench.clock.now_s)) == [("update", 2, "refused", None)]
    bench.clock.turn(1000.0)
    assert bench.tracker.turn(bench.clock.now_s) == []


def test_every_cause_says_what_mends_it() -> None:
    for cause in ("open_timeout", "no_frames", "refused", "unkillable", "recommission_required"):
        (start,) = Bench().see("lost", cause)
        words, _, mend = start.why.removeprefix("not watched: ").partition("; ")
        assert words
        assert mend


def test_a_picture_of_another_scene_is_a_fault_though_the_camera_lives() -> None:
    bench = Bench()
    unfit = "recommission_required"
    assert said(bench.see("live", unfit=unfit)) == [("start", 1, unfit, None)]
    assert bench.see("live", unfit=unfit, after_s=5.0) == []
    VALIDATOR.validate(sent(bench.tracker.finish("stopped", 1e3)[0]))


def test_a_jump_of_the_wall_clock_does_not_touch_the_duration() -> None:
    bench = Bench()
    bench.see("lost", "no_frames")
    bench.clock.wall = bench.clock.wall.replace(hour=3)  # 18 hours back
    (end,) = bench.see("live", after_s=7.0)
    assert end.duration_s == 7.0


def test_a_fault_that_was_open_when_the_daemon_died_gets_its_end(tmp_path: Path) -> None:
    bench = Bench()
    (start,) = bench.see("lost", "no_frames")
    folder = tmp_path / "o.sqlite3"
    with Outbox(folder, device="gate-01", topic="t", clock=bench.clock) as outbox:
        outbox.append(start.payload())
    with Outbox(folder, device="gate-01", topic="t", clock=bench.clock) as outbox:
        (left,) = outbox.open_events()
        end = end_after_restart(left, now=bench.clock.utc(), clock="synced")
        outbox.append(end)
        assert outbox.open_events() == []
        messages = [json.loads(row.payload) for row in outbox.fetch(after=0, limit=9)]
    for message in messages:
        VALIDATOR.validate(message)
    assert [(m["kind"], m["phase"], m["reason"]) for m in messages] == [
        ("camera", "start", None),
        ("camera", "end", "daemon_restart"),
    ]


def test_the_schema_refuses_half_a_fault() -> None:
    (start,) = Bench().see("lost", "no_frames")
    whole = sent(start)
    for key in ("cause", "state", "camera", "why"):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({k: v for k, v in whole.items() if k != key})
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**whole, "kind": "anomaly"})


def test_the_recorder_passes_a_fault_on_untouched(tmp_path: Path) -> None:
    (start,) = Bench().see("lost", "no_frames")
    seen: list[object] = []
    recorder = Recorder(folder=tmp_path, sink=seen.append)
    recorder.start()
    recorder.submit(start)
    recorder.close()
    assert seen == [start]
    assert list(tmp_path.iterdir()) == []


def test_watch_prints_a_fault_for_people() -> None:
    bench = Bench()
    (start,) = bench.see("lost", "no_frames")
    (end,) = bench.see("live", after_s=61.0)
    assert "gate-01/yard" in describe(sent(start))
    assert "CAMERA not watched: pictures have stopped" in describe(sent(start))
    assert "camera fault over: recovered  after 61.00 s" in describe(sent(end))
    assert "peak" not in describe(sent(end))
