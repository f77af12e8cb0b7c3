"""The folder of pictures and clips stays within its bound; the oldest events go first, whole."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from support.clock import ManualClock
from support.scores import detector, frame, scored

from edge.events.event import Event
from edge.events.identifiers import uuid7
from edge.events.media import MediaFolder
from edge.events.recorder import Recorder
from edge.events.tracker import EventTracker
from edge.page.media import open_media

BEGIN = datetime.datetime(2026, 7, 1, tzinfo=datetime.timezone.utc)


def names(count: int) -> list[str]:
    """Identifiers of so many events, one a minute."""
    return [str(uuid7(BEGIN + datetime.timedelta(minutes=number))) for number in range(count)]


def write(folder: Path, name: str, size: int = 100) -> None:
    (folder / name).write_bytes(b"x" * size)


def events_in(folder: Path) -> list[str]:
    return sorted({path.name[:36] for path in folder.iterdir()})


def media(folder: Path, **changes: Any) -> MediaFolder:
    return MediaFolder(folder, **{"max_bytes": 1000, "keep_free_bytes": 0, **changes})


def test_what_lies_there_from_earlier_runs_counts_and_goes_by_age(tmp_path: Path) -> None:
    known = names(6)
    for name in known:
        for kind in (".jpg", ".png", "-3.jpg"):
            write(tmp_path, name + kind)
    one = media(tmp_path)
    one.make_room()
    assert events_in(tmp_path) == known[3:]  # 900 bytes: no event is left with half its pictures
    newest = names(7)[6]
    write(tmp_path, f"{newest}.jpg", 200)
    one.note(f"{newest}.jpg", 200)
    one.make_room()
    assert events_in(tmp_path) == [*known[4:], newest]


def test_nothing_but_files_with_names_of_ours_is_touched(tmp_path: Path) -> None:
    others = ["notes.txt", "01a204a8.jpg", f"{names(1)[0]}.mp4", f"x{names(1)[0]}.jpg"]
    for name in others:
        write(tmp_path, name, 5000)
    (tmp_path / f"{names(1)[0]}.jpg").symlink_to(tmp_path / "notes.txt")
    (tmp_path / f"{names(1)[0]}.png").mkdir()
    one = media(tmp_path)
    for name in names(3):
        write(tmp_path, f"{name}.webm", 900)
        one.note(f"{name}.webm", 900)
        one.make_room()
    assert set(others) <= {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.glob("*.webm"))) == 1


def test_the_newest_event_and_open_ones_stay_though_they_are_too_large(tmp_path: Path) -> None:
    first, second, third = names(3)
    one = media(tmp_path)
    for name in (first, second, third):
        write(tmp_path, f"{name}.jpg", 900)
        one.note(f"{name}.jpg", 900)
    one.make_room(keep={first})
    assert events_in(tmp_path) == [first, third]
    one.make_room()
    assert events_in(tmp_path) == [third]


def test_a_disk_that_is_nearly_full_takes_the_oldest_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = names(5)
    for name in known:
        write(tmp_path, f"{name}.jpg")
    looks: list[str] = []

    def statvfs(_folder: Path) -> Any:
        looks.append("look")
        free = 100 * (5 - len(list(tmp_path.iterdir())))
        return type("State", (), {"f_bavail": free, "f_frsize": 1})

    monkeypatch.setattr(os, "statvfs", statvfs)
    media(tmp_path, max_bytes=2**30, keep_free_bytes=200).make_room()
    assert events_in(tmp_path) == known[2:]
    assert looks


def test_a_file_that_was_written_again_counts_once(tmp_path: Path) -> None:
    first, second = names(2)
    one = media(tmp_path)
    for _ in range(5):
        write(tmp_path, f"{first}.jpg", 400)
        one.note(f"{first}.jpg", 400)
    write(tmp_path, f"{second}.jpg", 400)
    one.note(f"{second}.jpg", 400)
    one.make_room()
    assert events_in(tmp_path) == [first, second]


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    media(tmp_path / "nothing").make_room()


def test_many_events_leave_the_newest_and_their_messages_name_what_is_there(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    tracker = EventTracker(device="gate-01", camera="yard", detector=detector(), clock=clock)
    sent: list[Event] = []
    there: list[bool] = []

    def sink(event: Any) -> None:
        sent.append(event)
        there.append(event.snapshot is not None and (tmp_path / event.snapshot.name).is_file())

    recorder = Recorder(folder=tmp_path, sink=sink, media_max=10_000)
    recorder.start()
    for index in range(40 * 60):
        one = frame(index)
        clock.turn(0.1)
        for report in tracker.update(one, scored(one, 5.0 if index % 60 < 10 else 1.0)):
            recorder.submit(report)
    recorder.close()
    assert len(sent) == 80
    assert all(there)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    left = events_in(tmp_path)
    assert 1 < len(left) < 40
    assert left == sorted({event.id for event in sent})[-len(left) :]
    assert size <= 10_000 + 2_000  # what the newest event added after the last look
    assert open_media(tmp_path, f"{left[-1]}.jpg") is not None
