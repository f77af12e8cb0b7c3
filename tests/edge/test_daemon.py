"""The daemon as a whole over made scores and a real broker: what it says, and how it ends."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.broker import Broker, Subscriber, free_port, running_broker, wait_until
from support.clips import MemorySource
from support.daemons import TOPICS, daemon, live, recording
from support.scores import PlayedPipeline, detector, frame, scored

from edge.clock import SystemClock
from edge.daemon_settings import CameraJob
from edge.events.event import load_schema
from edge.events.tracker import EventTracker
from edge.frames import Frame, ScoreMap
from edge.observer import CameraStatus, Observer
from edge.publish.outbox import Outbox
from edge.run_summary import RunSummary
from engines.errors import DataError, InputMissingError, InternalError, TemporaryError

pytestmark = pytest.mark.broker

ONE_EVENT = [1.0] * 10 + [5.0] * 10 + [1.0] * 40


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def test_an_event_is_published_with_its_pictures_and_the_run_is_summed_up(
    tmp_path: Path, broker: Broker
) -> None:
    with Subscriber(broker.port) as subscriber:
        summary = daemon(tmp_path, broker.url, {"yard": ONE_EVENT}).run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        events = subscriber.events()
    for event in events:
        jsonschema.validate(event, load_schema())
    assert [event["phase"] for event in events] == ["start", "end"]
    assert [event["seq"] for event in events] == [1, 2]
    assert events[0]["started_position_s"] == 1.0
    assert (events[1]["reason"], events[1]["duration_s"]) == ("normal", 1.9)
    assert "moves unlike anything seen here" in events[0]["why"]
    for picture in (events[0]["snapshot"], events[0]["heatmap"]):
        assert (tmp_path / "media" / Path(picture["path"]).name).stat().st_size == picture["bytes"]
    assert (summary.frames, summary.events, summary.delivered) == (60, 1, 2)
    assert (summary.outbox_left, summary.broker_reached, summary.stopped) == (0, True, False)
    assert summary.fps > 0
    assert json.loads(json.dumps(summary.to_json()))["cameras"]["yard"]["frames"] == 60
    assert summary.lines()[0].startswith("60 frames in ")


def test_the_retained_topics_tell_the_truth(tmp_path: Path, broker: Broker) -> None:
    with Subscriber(broker.port) as subscriber:
        daemon(tmp_path, broker.url, {"yard": [1.0] * 5 + [5.0] * 10}).run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        said = [p for t, p, _ in subscriber.messages if t == TOPICS.camera_alarm("yard")]
        state = json.loads(subscriber.last(TOPICS.state) or "{}")
        camera = json.loads(subscriber.last(TOPICS.camera_state("yard")) or "{}")
    assert said[-1] == b"OFF"  # latest-value: a run this short may end before it is connected
    assert (camera["state"], camera["event"]) == ("disabled", None)
    assert state["degraded"] == []
    assert state["release"] == "0.1.0"


def test_a_recording_that_ends_during_an_event_ends_the_event(
    tmp_path: Path, broker: Broker
) -> None:
    with Subscriber(broker.port) as subscriber:
        daemon(tmp_path, broker.url, {"yard": [1.0] * 5 + [5.0] * 10}).run()
        wait_until(lambda: len(subscriber.events()) == 2)
        assert subscriber.events()[1]["reason"] == "source_ended"


def test_several_cameras_share_one_step(tmp_path: Path, broker: Broker) -> None:
    scores = {"yard": ONE_EVENT, "door": [1.0] * 30, "gate": ONE_EVENT + ONE_EVENT}
    one = daemon(tmp_path, broker.url, scores)
    with Subscriber(broker.port) as subscriber:
        summary = one.run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        events = subscriber.events()
    pipeline = one._pipeline
    assert isinstance(pipeline, PlayedPipeline)
    assert pipeline.steps == [3] * 30 + [2] * 30 + [1] * 60
    assert [e["camera"] for e in events if e["phase"] == "start"].count("gate") == 2
    assert {name: c.events for name, c in summary.cameras.items()} == {
        "yard": 1,
        "door": 0,
        "gate": 2,
    }
    assert [e["seq"] for e in events] == [1, 2, 3, 4, 5, 6]


def test_without_a_broker_everything_waits_and_goes_out_next_time(tmp_path: Path) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    first = daemon(tmp_path, url, {"yard": ONE_EVENT}, flush_s=0.2).run()
    assert (first.events, first.outbox_left, first.broker_reached) == (1, 2, False)
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        second = daemon(tmp_path, broker.url, {"yard": ONE_EVENT}).run()
        wait_until(lambda: len(subscriber.events()) == 4)
        assert [e["seq"] for e in subscriber.events()] == [1, 2, 3, 4]
    assert (second.delivered, second.outbox_left) == (4, 0)


def test_a_broker_that_restarts_during_the_run_loses_nothing(
    tmp_path: Path, broker: Broker
) -> None:
    many = ONE_EVENT * 25
    job = CameraJob("yard", recording("yard", len(many), fps=500.0), realtime=True)
    # At 500 frames per second close and merge would take as many frames; the rule counts seconds.
    with Subscriber(broker.port, qos=0) as subscriber:
        one = daemon(tmp_path, broker.url, {"yard": many}, jobs=[job], flush_s=10.0)
        one._group._detector = detector(close_s=0.02, merge_s=0.02)
        result: list[RunSummary] = []
        runner = threading.Thread(target=lambda: result.append(one.run()))
        runner.start()
        wait_until(lambda: len(subscriber.events()) > 6)
        subscriber.ready.clear()
        broker.kill()
        time.sleep(0.3)
        broker.start()
        runner.join(30)
    (summary,) = result
    assert (summary.events, summary.outbox_left) == (25, 0)
    assert summary.delivered >= 50


def test_a_stop_ends_open_events_and_says_offline(tmp_path: Path, broker: Broker) -> None:
    job = CameraJob("yard", live(100.0))
    one = daemon(tmp_path, broker.url, {"yard": [5.0] * 1000}, jobs=[job])
    with Subscriber(broker.port) as subscriber:
        result: list[RunSummary] = []
        runner = threading.Thread(target=lambda: result.append(one.run()))
        runner.start()
        wait_until(lambda: subscriber.last(TOPICS.camera_alarm("yard")) == "ON")
        begin = time.monotonic()
        one.request_stop()
        runner.join(10)
        assert time.monotonic() - begin < 3.0
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        events = subscriber.events()
    assert [(e["phase"], e["reason"]) for e in events] == [("start", None), ("end", "stopped")]
    assert result[0].stopped
    assert subscriber.last(TOPICS.camera_alarm("yard")) == "OFF"


def test_events_left_open_by_a_crash_are_ended_at_the_next_start(
    tmp_path: Path, broker: Broker
) -> None:
    clock = SystemClock()
    with Outbox(
        tmp_path / "o.sqlite3", device="gate-01", topic=TOPICS.event, clock=clock
    ) as outbox:
        # What a killed daemon leaves behind: a start without an end.
        tracker = EventTracker(device="gate-01", camera="yard", detector=detector(), clock=clock)
        reports = [tracker.update(frame(i), scored(frame(i), ONE_EVENT[i])) for i in range(20)]
        outbox.append(next(filter(None, reports))[0].event.payload())
    with Subscriber(broker.port) as subscriber:
        daemon(tmp_path, broker.url, {"yard": [1.0] * 5}).run()
        wait_until(lambda: len(subscriber.events()) == 2)
        first, last = subscriber.events()
    assert (last["id"], last["phase"], last["reason"]) == (first["id"], "end", "daemon_restart")
    jsonschema.validate(last, load_schema())


def test_a_recording_that_breaks_off_ends_its_event_and_leaves_the_others_alone(
    tmp_path: Path, broker: Broker
) -> None:
    class Broken(MemorySource):
        def __iter__(self) -> Iterator[Frame]:
            yield from self.frames
            raise TemporaryError("the file cannot be read on", where="yard")

    jobs = [
        CameraJob("yard", Broken([frame(i) for i in range(20)], "yard", 10.0)),
        CameraJob("door", recording("door", 60, fps=100.0), realtime=True),
    ]
    scores = {"yard": [5.0] * 20, "door": [1.0] * 60}
    one = daemon(tmp_path, broker.url, scores, jobs=jobs)
    with Subscriber(broker.port) as subscriber:
        summary = one.run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        (start, end) = subscriber.events()
        camera = json.loads(subscriber.last(TOPICS.camera_state("yard")) or "{}")
    assert (start["camera"], end["reason"]) == ("yard", "camera_lost")
    assert camera["state"] == "lost"
    assert summary.cameras["door"].frames == 60
    assert [error.what for error in one.failures] == ["the file cannot be read on"]
    assert "the file cannot be read on" in "\n".join(summary.lines())


def test_observers_are_told_everything_and_a_broken_one_disturbs_nobody(
    tmp_path: Path, broker: Broker
) -> None:
    class Notes(Observer):
        def __init__(self) -> None:
            self.seen: list[Any] = []
            self.turns = 0

        def started(self, cameras: Any) -> None:
            self.seen.append(("started", [status.name for status in cameras]))

        def camera_changed(self, status: CameraStatus) -> None:
            self.seen.append((status.name, status.state))

        def scored(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
            assert scored.frame_index == frame.index
            self.seen.append((camera, frame.index))

        def event(self, event: Any) -> None:
            self.seen.append((event.camera, event.phase))

        def turned(self) -> None:
            self.turns += 1

        def stopping(self) -> None:
            self.seen.append("stopping")

        def stopped(self) -> None:
            self.seen.append("stopped")

    class Broken(Observer):
        calls = 0

        def turned(self) -> None:
            self.calls += 1
            raise RuntimeError("a bug in the page")

    notes, broken = Notes(), Broken()
    daemon(tmp_path, broker.url, {"yard": ONE_EVENT}, observers=[broken, notes]).run()
    assert notes.seen[:2] == [("started", ["yard"]), ("yard", 0)]
    assert notes.seen[-1] == "stopped"
    assert {("yard", "start"), ("yard", "end"), ("yard", 59), ("yard", "disabled")} <= set(
        notes.seen[1:]
    )
    assert "stopping" in notes.seen
    assert notes.turns >= 60
    assert broken.calls == 1


class Vital(Observer):
    """Others rely on it, and it fails with the first event."""

    vital = True

    def event(self, event: Any) -> None:
        raise RuntimeError(f"nothing to say of {event.id}")


def test_a_recorder_that_has_ended_ends_the_daemon_at_once_and_not_with_the_next_event(
    tmp_path: Path, broker: Broker
) -> None:
    # One event that stays open: no message follows that could find out.
    job = CameraJob("yard", live(100.0))
    scores = {"yard": [5.0] * 100_000}
    one = daemon(tmp_path, broker.url, scores, jobs=[job], observers=[Vital()])
    guard = threading.Timer(15.0, one.request_stop)
    guard.start()
    with pytest.raises(InternalError, match="Vital has failed"):
        one.run()
    guard.cancel()
    assert one._stops == 0


def test_a_slow_recording_keeps_nobody_waiting_for_its_next_picture(tmp_path: Path) -> None:
    class Turns(Observer):
        count = 0

        def turned(self) -> None:
            self.count += 1

    turns = Turns()
    job = CameraJob("yard", recording("yard", 2, fps=0.5), realtime=True)
    url = f"mqtt://127.0.0.1:{free_port()}"
    one = daemon(tmp_path, url, {"yard": [1.0]}, jobs=[job], observers=[turns], flush_s=0.0)
    one.run()
    assert turns.count >= 8  # a turn at least every 0.2 s


def test_a_camera_that_is_switched_off_is_told_as_disabled(tmp_path: Path, broker: Broker) -> None:
    jobs = [CameraJob("off", None), CameraJob("yard", recording("yard", 10))]
    one = daemon(tmp_path, broker.url, {"off": [], "yard": [1.0]}, jobs=jobs)
    with Subscriber(broker.port) as subscriber:
        summary = one.run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        state = json.loads(subscriber.last(TOPICS.camera_state("off")) or "{}")
    assert state["state"] == "disabled"
    assert (summary.cameras["off"].frames, summary.cameras["yard"].frames) == (0, 10)


class MissingSource(MemorySource):
    def __enter__(self) -> MemorySource:
        raise InputMissingError("there is no such file", where=self.name)


def test_a_source_that_is_not_there_ends_a_lonely_run_but_not_that_of_others(
    tmp_path: Path, broker: Broker
) -> None:
    missing = CameraJob("yard", MissingSource([], "nothing.avi", 10.0))
    with pytest.raises(InputMissingError):
        daemon(tmp_path, broker.url, {"yard": []}, jobs=[missing]).run()
    jobs = [missing, CameraJob("door", recording("door", 60))]
    one = daemon(tmp_path, broker.url, {"yard": [], "door": ONE_EVENT}, jobs=jobs)
    summary = one.run()
    assert summary.cameras["door"].events == 1
    assert [type(error) for error in one.failures] == [InputMissingError]


class BrokenPipeline(PlayedPipeline):
    def step(self, work: Any) -> Any:
        if len(self.steps) >= 20:
            raise DataError("the network gave NaN")
        return super().step(work)


def test_when_scoring_breaks_what_had_happened_is_delivered_first(
    tmp_path: Path, broker: Broker
) -> None:
    one = daemon(tmp_path, broker.url, {"yard": ONE_EVENT})
    one._loop._pipeline = BrokenPipeline({"yard": ONE_EVENT})
    with Subscriber(broker.port) as subscriber:
        with pytest.raises(DataError, match="NaN"):
            one.run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        assert [e["phase"] for e in subscriber.events()] == ["start", "end"]
    assert threading.active_count() < 5


def test_a_recording_in_real_time_takes_its_time(tmp_path: Path, broker: Broker) -> None:
    job = CameraJob("yard", recording("yard", 21, fps=40.0), realtime=True)
    summary = daemon(tmp_path, broker.url, {"yard": [1.0] * 21}, jobs=[job]).run()
    assert summary.seconds == pytest.approx(0.5, abs=0.1)
    assert summary.frames == 21


def test_another_frame_rate_than_the_models_is_told(
    tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon(tmp_path, broker.url, {"yard": [1.0] * 5}, expected_fps=25.0).run()
    captured = capsys.readouterr()
    assert "frame_rate_differs" in captured.out + captured.err
