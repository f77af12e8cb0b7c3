"""Messages made before the clock was right get right times, as long as that can be known."""

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import ManualClock

from edge.clock import rfc3339
from edge.events.event import end_after_restart
from edge.publish.clock_repair import repaired
from edge.publish.outbox import Bounds, Outbox

BOOT = "1970-01-01T00:00:10+00:00"


def outbox(path: Path, clock: ManualClock) -> Outbox:
    return Outbox(path, device="d", topic="t", clock=clock, bounds=Bounds(reserve_bytes=0))


def message(clock: ManualClock, phase: str) -> dict[str, object]:
    now = rfc3339(clock.utc())
    return {
        "id": "a",
        "phase": phase,
        "rev": 1,
        "started_at": now,
        "at": now,
        "ended_at": now if phase == "end" else None,
        "clock": clock.state(),
    }


def test_unsent_messages_are_put_right_once_the_clock_is(tmp_path: Path) -> None:
    clock = ManualClock(BOOT)
    clock.synced = "unsynced"
    with outbox(tmp_path / "o.sqlite3", clock) as box:
        box.append(message(clock, "start"))
        clock.turn(60.0)
        box.append(message(clock, "end"))
        early = [json.loads(row.payload) for row in box.fetch(after=0, limit=9)]
        assert [one["at"][:19] for one in early] == ["1970-01-01T00:00:10", "1970-01-01T00:01:10"]
        assert {one["clock"] for one in early} == {"unsynced"}
        # Forty seconds later the network has the time: the device had started at 21:12:20.
        clock.turn(40.0)
        clock.wall = datetime.datetime.fromisoformat("2026-07-01T21:14:00+00:00")
        clock.synced = "synced"
        box.append(message(clock, "start"))
        late = [json.loads(row.payload) for row in box.fetch(after=0, limit=9)]
        depth = box.depth
        box.delete([1, 2, 3])
        assert box.depth.payload_bytes == 0
        assert box._db.execute("SELECT COUNT(*) FROM unsynced").fetchone() == (0,)
    assert depth.rows == 3
    assert [one["at"] for one in late] == [
        "2026-07-01T21:12:20.000Z",
        "2026-07-01T21:13:20.000Z",
        "2026-07-01T21:14:00.000Z",
    ]
    assert late[0]["ended_at"] is None
    assert late[1]["ended_at"] == "2026-07-01T21:13:20.000Z"
    assert {one["clock"] for one in late} == {"synced"}


def test_after_a_reboot_nobody_can_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(BOOT)
    clock.synced = "unsynced"
    with outbox(tmp_path / "o.sqlite3", clock) as box:
        box.append(message(clock, "start"))
    monkeypatch.setattr("edge.publish.outbox.boot_id", lambda: "another run of the kernel")
    with outbox(tmp_path / "o.sqlite3", ManualClock()) as box:
        (row,) = box.fetch(after=0, limit=9)
    assert json.loads(row.payload)["clock"] == "unsynced"
    assert json.loads(row.payload)["at"].startswith("1970-01-01T00:00:10")


def test_the_end_that_follows_a_crash_does_not_make_a_wrong_beginning_right(
    tmp_path: Path,
) -> None:
    clock = ManualClock(BOOT)
    clock.synced = "unsynced"
    with outbox(tmp_path / "o.sqlite3", clock) as box:
        box.append(message(clock, "start"))
    clock.wall = datetime.datetime.fromisoformat("2026-07-01T21:14:00+00:00")
    clock.synced = "synced"
    with outbox(tmp_path / "o.sqlite3", clock) as box:
        (left,) = box.open_events()
        box.append(end_after_restart(left, now=clock.utc(), clock=clock.state()))
        end = json.loads(box.fetch(after=1, limit=9)[0].payload)
    assert end["started_at"].startswith("1970")
    assert end["ended_at"].startswith("2026")
    assert end["clock"] == "unsynced"  # and nobody takes the event for one of 56 years


@given(
    st.datetimes(timezones=st.just(datetime.timezone.utc)).filter(lambda m: 1971 < m.year < 9000),
    st.integers(-30_000_000, 30_000_000),
)
def test_the_shift_is_exact_to_the_millisecond(moment: datetime.datetime, error_s: int) -> None:
    text = json.dumps({"at": rfc3339(moment), "clock": "unsynced", "other": [1]})
    found = json.loads(repaired(text, error_s=float(error_s)))
    expected = rfc3339(moment + datetime.timedelta(seconds=error_s))
    assert found == {"at": expected, "clock": "synced", "other": [1]}
