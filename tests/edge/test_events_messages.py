"""Messages against the published schema, and the pictures they speak of."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from support.clock import ManualClock
from support.scores import detector, frame, scored

from edge.events.event import Event, end_after_restart, load_schema
from edge.events.pictures import write_heatmap
from edge.events.recorder import Recorder
from edge.events.tracker import EventTracker, Report
from engines.errors import VigilError


def strict(node: Any) -> Any:
    """The schema with unknown fields forbidden in nested objects, as our own messages must hold."""
    if isinstance(node, dict):
        node = {key: strict(value) for key, value in node.items()}
        if node.get("type") in ("object", ["object", "null"]) and "properties" in node:
            node.setdefault("additionalProperties", False)
    return node


def validator() -> jsonschema.Draft202012Validator:
    schema = load_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    definitions = {
        name: strict(node) if name == "picture" else node for name, node in schema["$defs"].items()
    }
    definitions["anomaly"]["properties"] = strict(definitions["anomaly"]["properties"])
    return jsonschema.Draft202012Validator({**schema, "$defs": definitions})


def reports() -> list[Report]:
    tracker = EventTracker(
        device="gate-01", camera="yard", detector=detector(), clock=ManualClock()
    )
    found = []
    for index in range(150):
        one = frame(index)
        score = 5.0 + 0.05 * index if index < 100 else 1.0
        found += tracker.update(one, scored(one, score))
    return found


def recorded(folder: Path | None) -> list[Event]:
    events: list[Event] = []
    recorder = Recorder(folder=folder, sink=events.append)
    recorder.start()
    for report in reports():
        recorder.submit(report)
    recorder.close()
    return events


def numbered(event: Event, seq: int) -> dict[str, Any]:
    stream = "0190a3f2-5a2e-7c44-9b1e-3f0a2d6c8e11"
    return {**event.payload(), "stream_id": stream, "seq": seq}


def test_every_message_of_an_event_fits_the_schema(tmp_path: Path) -> None:
    events = recorded(tmp_path)
    assert [event.phase for event in events] == ["start", "update", "end"]
    known = {*load_schema()["required"], *load_schema()["$defs"]["anomaly"]["required"]}
    for seq, event in enumerate(events, 1):
        validator().validate(numbered(event, seq))
        assert set(numbered(event, seq)) == known
        assert set(numbered(event, seq)) == known
    without = recorded(None)
    assert without[0].snapshot is None
    validator().validate(numbered(without[0], 1))


def test_the_schema_refuses_wrong_messages(tmp_path: Path) -> None:
    right = numbered(recorded(tmp_path)[-1], 3)
    for change in (
        {"seq": 0},
        {"phase": "begin"},
        {"id": "not-a-uuid"},
        {"reason": None},
        {"started_at": "2026-07-01 21:14:03"},
        {"camera": "Yard"},
        {"cells": [{"x": 1.5, "y": 0, "w": 0, "h": 0, "score": 1}]},
        {"snapshot": {"path": "/etc/passwd", "sha256": "0" * 64, "bytes": 1}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator().validate({**right, **change})
    for key in right:
        if key in ("previous_id", "clip"):
            continue
        wrong = copy.copy(right)
        del wrong[key]
        with pytest.raises(jsonschema.ValidationError):
            validator().validate(wrong)


def test_the_end_after_a_crash_fits_the_schema_and_keeps_the_event() -> None:
    clock = ManualClock()
    start = numbered(recorded(None)[0], 7)
    end = end_after_restart(start, now=clock.utc(), clock=clock.state())
    assert (end["id"], end["rev"], end["phase"]) == (start["id"], 2, "end")
    assert end["reason"] == "daemon_restart"
    assert "seq" not in end
    validator().validate({**end, "stream_id": start["stream_id"], "seq": 8})


def test_pictures_lie_on_the_disk_before_the_message_leaves(tmp_path: Path) -> None:
    missing: list[str] = []

    def sink(event: Event) -> None:
        for picture in (event.snapshot, event.heatmap):
            assert picture is not None
            data = (tmp_path / picture.name).read_bytes()
            if hashlib.sha256(data).hexdigest() != picture.sha256 or len(data) != picture.size:
                missing.append(picture.name)

    recorder = Recorder(folder=tmp_path, sink=sink)
    recorder.start()
    for report in reports():
        recorder.submit(report)
    recorder.close()
    assert missing == []
    assert recorder.pictures_failed == 0


def test_the_snapshot_shows_the_peak_frame(tmp_path: Path) -> None:
    events = recorded(tmp_path)
    assert events[0].snapshot is not None
    assert events[-1].snapshot is not None
    first = cv2.imread(str(tmp_path / events[0].snapshot.name))
    last = cv2.imread(str(tmp_path / events[-1].snapshot.name))
    # Frames are flat pictures whose grey level is their number; JPEG may be off by a little.
    assert abs(int(first.mean()) - 2) <= 1
    assert abs(int(last.mean()) - 99) <= 1
    assert events[0].snapshot.name != events[-1].snapshot.name


def test_the_heat_map_has_the_pictures_size_and_its_scale_is_told(tmp_path: Path) -> None:
    grid = np.array([[0.0, 3.0, 6.0], [9.0, 1.5, 4.5]], np.float32)
    stored = write_heatmap(tmp_path, "x", grid, threshold=3.0, size=(41, 64))
    picture = cv2.imread(str(tmp_path / stored.name), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (41, 64)
    assert picture.dtype == np.uint8
    assert stored.details == {"score_at_0": 0.0, "score_at_255": 6.0}
    for row, column in [(0, 0), (20, 21), (20, 22), (21, 63), (40, 30)]:
        value = grid[2 * row // 41, 3 * column // 64]
        assert picture[row, column] == int(min(255.0, value / 6.0 * 255.0))


def test_a_threshold_below_zero_still_lies_half_way(tmp_path: Path) -> None:
    grid = np.array([[-20.0]], np.float32)
    stored = write_heatmap(tmp_path, "x", grid, threshold=-20.0, size=(4, 4))
    assert cv2.imread(str(tmp_path / stored.name), cv2.IMREAD_UNCHANGED)[0, 0] == 127
    assert stored.details == {"score_at_0": -40.0, "score_at_255": 0.0}


def test_an_alarm_goes_out_without_a_picture_if_none_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    events: list[Event] = []
    recorder = Recorder(folder=folder, sink=events.append)
    recorder.start()
    for report in reports():
        recorder.submit(report)
    recorder.close()
    assert [event.phase for event in events] == ["start", "update", "end"]
    assert all(event.snapshot is None for event in events)
    assert recorder.pictures_failed == 3


def test_a_sink_that_fails_is_told_to_the_one_who_submits() -> None:
    def sink(_event: Event) -> None:
        raise VigilError("the outbox is gone")

    recorder = Recorder(folder=None, sink=sink)
    recorder.start()
    recorder.submit(reports()[0])
    with pytest.raises(VigilError, match="the outbox is gone"):
        recorder.close()
