"""What the page knows: both sides hold the same, however it came there."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.clock import ManualClock

from edge.page.board import EVENTS, SCORE_EVERY_S, SCORES_S, Board
from edge.page.inbox import Inbox
from edge.page.journal import Journal
from edge.page.viewers import BACKLOG, Hub, encode
from edge.page.wire import pack, unpack

DEVICE = {"name": "gate-01", "threshold": 3.0}


def event(number: int, rev: int = 1, phase: str = "start") -> dict[str, Any]:
    return {
        "id": f"{number:08d}",
        "rev": rev,
        "phase": phase,
        "camera": "yard",
        "started_at": "2026-07-01T21:14:03.120Z",
    }


MESSAGES = st.one_of(
    st.builds(
        lambda name, state: {"kind": "camera", "camera": {"name": name, "state": state}},
        st.sampled_from(["a", "b"]),
        st.sampled_from(["live", "lost"]),
    ),
    st.builds(
        lambda name, at, score: {"kind": "score", "camera": name, "at": at, "score": score},
        st.sampled_from(["a", "b"]),
        st.integers(0, 10**13),
        st.floats(0, 100),
    ),
    st.builds(
        lambda number, rev: {"kind": "event", "event": event(number, rev)},
        st.integers(0, 5),
        st.integers(1, 4),
    ),
    st.builds(
        lambda name, n: {"kind": "picture", "camera": name, "n": n, "at": n, "jpeg_bytes": 1},
        st.sampled_from(["a", "b"]),
        st.integers(1, 100),
    ),
    st.just({"kind": "beat", "scoring": True, "now": 5, "rates": {"a": 1.0}}),
)


@given(st.lists(MESSAGES, max_size=30), st.integers(0, 30))
def test_a_snapshot_and_the_later_messages_give_the_same_board(
    messages: list[dict[str, Any]], at: int
) -> None:
    first = Board(DEVICE)
    for message in messages[:at]:
        first.apply(message)
    second = Board.of(json.loads(json.dumps(first.snapshot())))
    for message in messages[at:]:
        first.apply(message)
        second.apply(message)
    assert json.dumps(first.snapshot()) == json.dumps(second.snapshot())


def test_the_memory_is_bounded() -> None:
    board = Board(DEVICE)
    for number in range(3000):
        board.apply({"kind": "event", "event": event(number)})
        board.apply({"kind": "score", "camera": "yard", "at": number, "score": 1.0})
    snapshot = board.snapshot()
    assert len(snapshot["events"]) == EVENTS
    assert snapshot["events"][0]["id"] == "00002999"
    assert len(snapshot["scores"]["yard"]) == SCORES_S / SCORE_EVERY_S


def test_an_old_message_does_not_undo_a_newer_one() -> None:
    board = Board(DEVICE)
    board.apply({"kind": "event", "event": event(1, rev=2, phase="end")})
    board.apply({"kind": "event", "event": event(1, rev=1)})
    assert board.events()[0]["phase"] == "end"


def test_what_was_packed_is_unpacked() -> None:
    async def there_and_back() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(pack({"kind": "a"}, b"xyz") + pack({"kind": "b"}) + pack({"c": 1})[:-1])
        reader.feed_eof()
        assert await unpack(reader) == ({"kind": "a"}, b"xyz")
        assert await unpack(reader) == ({"kind": "b"}, b"")
        assert await unpack(reader) is None  # broken off

    asyncio.run(there_and_back())


def test_events_are_kept_over_a_restart_and_what_was_open_is_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "e.json", clock=ManualClock())
    assert journal.load() == []
    journal.save([event(1, 2, "end"), event(2)])
    first, second = journal.load()
    assert first == event(1, 2, "end")
    assert (second["phase"], second["reason"], second["rev"]) == ("end", "daemon_restart", 2)
    assert second["ended_at"] == "2026-07-01T21:14:00.000Z"


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_a_broken_journal_is_an_empty_one(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.json"
        path.write_bytes(data)
        assert Journal(path, clock=ManualClock()).load() == []


def test_a_journal_on_a_full_disk_disturbs_nobody(tmp_path: Path) -> None:
    Journal(tmp_path / "file" / "e.json", clock=ManualClock())
    (tmp_path / "file").write_text("no folder")
    Journal(tmp_path / "file" / "e.json", clock=ManualClock()).save([event(1)])


def test_the_inbox_keeps_the_largest_score_and_the_newest_picture() -> None:
    inbox = Inbox()
    grid = np.zeros((1, 1), np.float32)
    for at, score in enumerate([1.0, 7.0, 2.0]):
        bgr = np.full((2, 2, 3), at, np.uint8)
        inbox.see("yard", score, at_ms=at, bgr=bgr, score_map=grid)
    tally = inbox.tallies()["yard"]
    assert (tally.count, tally.peak, tally.at_ms) == (3, 7.0, 2)
    assert inbox.tallies() == {}
    assert inbox.sights()["yard"].bgr[0, 0, 0] == 2
    for number in range(5000):
        inbox.put({"n": number})
    assert len(inbox.messages()) == 1000


def test_a_slow_viewer_is_sent_away_and_the_others_are_not() -> None:
    async def scene() -> None:
        told: list[int] = []
        hub = Hub(2, told=told.append)
        with hub.join() as slow, hub.join() as quick:
            assert hub.full
            for number in range(BACKLOG + 1):
                hub.publish({"kind": "beat", "n": number})
                await quick.next()
            assert slow.lost
            assert not quick.lost
        assert told == [1, 2, 1, 0]

    asyncio.run(scene())


def test_a_server_sent_event_is_one_line_whatever_is_in_it() -> None:
    data = encode({"kind": "event", "why": "a\n\ndata: b\r\n\u2028"})
    assert data.count(b"\n") == 3
    assert json.loads(data.split(b"data: ", 1)[1])["why"] == "a\n\ndata: b\r\n\u2028"
