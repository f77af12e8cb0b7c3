"""The configuration is read again: who goes on, who ends, who begins, and what a wrong one does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.broker import Broker, Subscriber, free_port, running_broker, wait_until
from support.cameras import TimedCapture
from support.daemons import Running
from support.scores import PlayedPipeline, PlayedView, detector

from edge.camera_group import CameraGroup
from edge.capture.camera_state import Patience
from edge.clock import SystemClock
from edge.daemon import Daemon
from edge.daemon_settings import CameraJob, DaemonSettings, LiveInput
from edge.observer import CameraStatus, Observer
from edge.publish.address import BrokerAddress, Topics
from edge.publish.outbox import Outbox
from edge.publish.publisher import BrokerSettings
from edge.run_summary import RunSummary
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from engines.errors import ConfigError, DataError, VigilError

TOPICS = Topics("gate-01")
PATIENCE = Patience(backoff_min_s=0.01, backoff_max_s=0.02, stale_s=30.0, connect_s=30.0)


class OneScore(PlayedPipeline):
    """Every camera has the same score at every frame."""

    def new_view(self, rules: CellRules = EVERYWHERE) -> PlayedView:
        del rules
        return PlayedView("all")


def pipeline(score: float = 1.0) -> OneScore:
    return OneScore({"all": [score]})


class SlowEnd(TimedCapture):
    """Holds its device until a test lets it go."""

    free: threading.Event

    def stop(self) -> bool:
        self.free.wait(10)
        return super().stop()


def job(name: str, key: object, launch: Callable[[], Any] | None = None) -> CameraJob:
    made = launch or (lambda: TimedCapture(50.0))
    return CameraJob(name, LiveInput(launch=made, patience=PATIENCE), key=key)


@pytest.fixture
def group() -> Iterator[CameraGroup]:
    settings = DaemonSettings(
        broker=BrokerSettings(address=BrokerAddress.parse("mqtt://localhost"), topics=TOPICS),
        media=None,
    )
    one = CameraGroup(
        settings=settings,
        pipeline=pipeline(),
        detector=detector(),
        device="gate-01",
        clock=SystemClock(),
        announce=threading.Event(),
    )
    yield one
    one.close()


def names(group: CameraGroup) -> list[str]:
    return sorted(camera.name for camera in group.at_work)


def test_who_is_the_same_goes_on_and_the_others_are_exchanged(group: CameraGroup) -> None:
    group.open([job("yard", 1), job("door", 1), job("gate", 1)])
    before = {camera.name: camera for camera in group.at_work}
    _, former = group.exchange([job("yard", 1), job("door", 2), job("porch", 1)])
    assert {(s.name, s.state, s.reason) for s in former} == {
        ("door", "disabled", "reconfigured"),
        ("gate", "disabled", "reconfigured"),
    }
    wait_until(group.turn)
    assert names(group) == ["door", "porch", "yard"]
    after = {camera.name: camera for camera in group.at_work}
    assert after["yard"] is before["yard"]
    assert after["door"] is not before["door"]
    assert not group.changing
    assert set(group.summaries()) == {"yard", "door", "gate", "porch"}


def test_a_successor_waits_until_the_device_is_free(group: CameraGroup) -> None:
    old, new = SlowEnd(50.0), TimedCapture(50.0)
    old.free = threading.Event()
    group.open([job("usb", 1, lambda: old)])
    wait_until(lambda: group.at_work[0].feed.take() is not None)
    group.exchange([job("usb", 2, lambda: new)])
    for _ in range(3):
        assert not group.turn()  # and it does not wait for it
    assert group.at_work == []
    old.free.set()
    wait_until(group.turn)
    wait_until(lambda: group.at_work[0].feed.take() is not None)
    assert old.stopped
    assert not new.stopped


def test_a_second_change_while_the_first_is_under_way_wins(group: CameraGroup) -> None:
    group.open([job("yard", 1)])
    group.exchange([job("yard", 2)])
    group.exchange([job("yard", 3)])
    wait_until(group.turn)
    assert len(group.at_work) == 1
    assert group._posts[0].job.key == 3


def test_what_does_not_fit_changes_nothing(group: CameraGroup) -> None:
    class Choosy(OneScore):
        def new_view(self, rules: CellRules = EVERYWHERE) -> PlayedView:
            del rules
            raise DataError("site statistics of another grid")

    group.open([job("yard", 1), job("door", 1)])
    before = list(group.at_work)
    group._pipeline = Choosy({"all": [1.0]})
    with pytest.raises(DataError):
        group.exchange([job("porch", 1)])
    assert group.at_work == before
    assert not group.changing


def test_cameras_that_hang_end_side_by_side(group: CameraGroup) -> None:
    meet = threading.Barrier(4)

    class Together(TimedCapture):
        """Ends only while all the others end, too."""

        def stop(self) -> bool:
            meet.wait(20)
            return super().stop()

    group.open([job(f"c{n}", 1, lambda: Together(50.0)) for n in range(4)])
    wait_until(lambda: all(camera.feed.take() is not None for camera in group.at_work))
    group.close()
    assert not meet.broken


class Notes(Observer):
    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.refused: list[VigilError] = []

    def regrouped(self, cameras: Any) -> None:
        self.groups.append([status.name for status in cameras])

    def config_refused(self, error: VigilError) -> None:
        self.refused.append(error)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


@pytest.mark.broker
def test_a_daemon_reads_its_cameras_again_and_loses_neither_message_nor_order(
    tmp_path: Path, broker: Broker
) -> None:
    clock, notes = SystemClock(), Notes()
    wanted: list[Sequence[CameraJob] | VigilError] = [
        ConfigError("the key `source` is missing", where="gate.yaml:7:3"),
        [job("yard", 1), job("porch", 1)],
    ]

    def read_again() -> Sequence[CameraJob]:
        found = wanted.pop(0)
        if isinstance(found, VigilError):
            raise found
        return found

    one = Daemon(
        settings=DaemonSettings(
            broker=BrokerSettings(
                address=BrokerAddress.parse(broker.url), topics=TOPICS, reconnect_max_s=0.1
            ),
            media=None,
        ),
        cameras=[job("yard", 1), job("door", 1)],
        pipeline=pipeline(5.0),
        detector=detector(),
        outbox=Outbox(tmp_path / "o.sqlite3", device="gate-01", topic=TOPICS.event, clock=clock),
        clock=clock,
        observers=[notes],
        read_again=read_again,
    )
    results: list[RunSummary] = []
    runner = threading.Thread(target=lambda: results.append(one.run()))

    def alarm(camera: str) -> str | None:
        return subscriber.last(TOPICS.camera_alarm(camera))

    with capture_logs() as logs, Subscriber(broker.port) as subscriber:
        runner.start()
        wait_until(lambda: alarm("yard") == alarm("door") == "ON", timeout_s=30)
        one.request_reload()
        wait_until(lambda: len(notes.refused) == 1)
        wait_until(lambda: "config_refused" in degraded(subscriber))
        assert alarm("door") == "ON"  # all goes on as before
        one.request_reload()
        wait_until(lambda: alarm("porch") == "ON" and alarm("door") == "OFF", timeout_s=30)
        wait_until(lambda: degraded(subscriber) == [])
        one.request_stop()
        runner.join(20)
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        events = subscriber.events()
        door = json.loads(subscriber.last(TOPICS.camera_state("door")) or "{}")
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    told = [(e["camera"], e["phase"], e["reason"]) for e in events if e["phase"] == "end"]
    assert sorted(told) == [
        ("door", "end", "reconfigured"),
        ("porch", "end", "stopped"),
        ("yard", "end", "stopped"),
    ]
    assert [e["phase"] for e in events if e["camera"] == "yard"].count("start") == 1
    assert (door["state"], door["reason"]) == ("disabled", "reconfigured")
    assert notes.groups[-1] == ["yard", "porch"]
    refusals = [line for line in logs if line["event"] == "config_refused"]
    assert "gate.yaml:7:3" in refusals[0]["error"]
    assert set(results[0].cameras) == {"yard", "door", "porch"}


def test_a_service_whose_cameras_are_all_off_waits_for_one_to_be_switched_on(
    tmp_path: Path,
) -> None:
    class Newest(Observer):
        state: dict[str, str]
        turns = 0

        def __init__(self) -> None:
            self.state = {}

        def camera_changed(self, status: CameraStatus) -> None:
            self.state[status.name] = status.state

        def turned(self) -> None:
            self.turns += 1

    wanted: list[Sequence[CameraJob]] = [[CameraJob("yard", None, key=2)], [job("yard", 3)]]
    clock, newest = SystemClock(), Newest()
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{free_port()}")
    one = Daemon(
        settings=DaemonSettings(
            broker=BrokerSettings(address=address, topics=TOPICS), media=None, flush_s=0.0
        ),
        cameras=[job("yard", 1)],
        pipeline=pipeline(1.0),
        detector=detector(),
        outbox=Outbox(tmp_path / "o.sqlite3", device="gate-01", topic=TOPICS.event, clock=clock),
        clock=clock,
        observers=[newest],
        read_again=lambda: wanted.pop(0),
    )
    with capture_logs() as logs, Running(one) as running:
        for state in ("live", "disabled", "live"):
            wait_until(lambda state=state: newest.state.get("yard") == state, timeout_s=20)
            before = newest.turns
            wait_until(lambda before=before: newest.turns > before + 3)  # the loop goes on
            assert running.summary is None
            if wanted:
                one.request_reload()
    assert [line["event"] for line in logs].count("no_camera_on") == 1


def degraded(subscriber: Subscriber) -> list[str]:
    found: list[str] = json.loads(subscriber.last(TOPICS.state) or "{}").get("degraded", ["?"])
    return found


def test_a_status_carries_threshold_and_patience(group: CameraGroup) -> None:
    group.open([job("yard", 1), CameraJob("off", None)])
    found: dict[str, CameraStatus] = {status.name: status for status in group.statuses()}
    assert (found["yard"].threshold, found["yard"].patience) == (3.0, PATIENCE)
    assert found["off"].patience is None
