"""What the retained topics say: reasons why not all is well, small pictures, clocks that jump."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.broker import Broker, Subscriber, running_broker, wait_until, without_repeats
from support.clips import MemorySource
from support.clock import ManualClock
from support.publishing import TOPICS
from support.scores import PlayedPipeline, detector, frame

from edge.announcer import Announcer
from edge.clock import SystemClock
from edge.daemon import Daemon
from edge.daemon_settings import CameraJob, DaemonSettings
from edge.events.event import ModelInfo
from edge.publish.address import BrokerAddress
from edge.publish.outbox import Depth, Outbox
from edge.publish.publisher import BrokerSettings, PublisherState
from edge.publish.snapshot import MAX_BYTES, small_jpeg

WELL = PublisherState(connected=True, connects=1, delivered=0, last_error=None)


class Parts:
    """Publisher and outbox as an announcer sees them."""

    def __init__(self) -> None:
        self.state, self.waiting = WELL, Depth(0, 0, 0)
        self.topics: dict[str, Any] = {}

    def depth(self) -> Depth:
        return self.waiting

    def identity(self) -> tuple[str, int]:
        return "stream", 7

    def retain(self, topic: str, payload: Any) -> None:
        self.topics[topic] = payload


def degraded(parts: Parts, folder: Path, **changes: Any) -> list[str]:
    clock = ManualClock()
    one = Announcer(
        publisher=parts,  # type: ignore[arg-type]
        outbox=parts,  # type: ignore[arg-type]
        topics=TOPICS,
        model=ModelInfo("1", "n", "b", "fp32"),
        clock=clock,
        state=folder,
        **changes,
    )
    one.started([])
    clock.turn(61.0)
    one.turned()
    reasons: list[str] = json.loads(parts.topics[TOPICS.state])["degraded"]
    return reasons


def test_the_state_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = [10**12]
    monkeypatch.setattr("edge.announcer.free_bytes", lambda _folder: free[0])
    parts = Parts()
    assert degraded(parts, tmp_path) == []
    parts.waiting = Depth(9, 9, 0, 3)
    assert degraded(parts, tmp_path) == ["outbox_not_written"]
    parts.waiting = Depth(9, 9, 5)
    parts.state = PublisherState(
        connected=False,
        connects=0,
        delivered=0,
        last_error="no",
        blocked=True,
        retain_missing=True,
    )
    assert degraded(parts, tmp_path) == ["outbox_full", "broker_refuses", "broker_cannot_retain"]
    free[0] = 10**8
    parts.waiting, parts.state = Depth(0, 0, 0), WELL
    assert degraded(parts, tmp_path, verified=False) == ["disk_low", "tls_not_verified"]
    captured = capsys.readouterr()
    assert "insecure_skip_verify" in captured.out + captured.err


def test_a_picture_for_the_snapshot_topic_is_never_large(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), dtype=np.uint8)
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    cv2.imwrite(str(large), noise)
    cv2.imwrite(str(small), noise[:90, :160])
    assert large.stat().st_size > MAX_BYTES
    data = small_jpeg(large)
    assert data is not None
    assert len(data) <= MAX_BYTES
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (360, 640, 3)
    assert small_jpeg(small) == small.read_bytes()
    large.write_bytes(b"x" * (MAX_BYTES + 1))
    assert small_jpeg(large) is None
    assert small_jpeg(tmp_path / "none.jpg") is None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


class JumpingClock(SystemClock):
    """Another day at every look: forwards, backwards, years apart."""

    def __init__(self) -> None:
        self._looks = 0

    def utc(self) -> datetime.datetime:
        self._looks += 1
        days = (self._looks * 7919) % 20_000
        return datetime.datetime(1970, 1, 2, tzinfo=datetime.timezone.utc) + datetime.timedelta(
            days=days
        )


def run(folder: Path, url: str, clock: SystemClock, **changes: Any) -> None:
    scores = ([1.0] * 10 + [5.0] * 10) * 30 + [1.0] * 10
    source = MemorySource([frame(i) for i in range(len(scores))], "yard", 10.0)
    Daemon(
        settings=DaemonSettings(
            broker=BrokerSettings(address=BrokerAddress.parse(url), topics=TOPICS),
            media=folder / "media",
            **changes,
        ),
        cameras=[CameraJob("yard", source)],
        pipeline=PlayedPipeline({"yard": scores}),
        detector=detector(close_s=0.2, merge_s=0.2),
        outbox=Outbox(folder / "o.sqlite3", device="gate-01", topic=TOPICS.event, clock=clock),
        clock=clock,
    ).run()


@pytest.mark.broker
def test_a_clock_that_jumps_all_the_time_loses_and_disorders_nothing(
    tmp_path: Path, broker: Broker
) -> None:
    with Subscriber(broker.port) as subscriber:
        run(tmp_path, broker.url, JumpingClock())
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        events = without_repeats(subscriber.events())
    assert [event["seq"] for event in events] == list(range(1, 61))
    assert [event["phase"] for event in events] == ["start", "end"] * 30
    assert {event["duration_s"] for event in events if event["phase"] == "end"} == {1.1}
    assert len({event["started_at"][:10] for event in events}) > 10  # it did jump


@pytest.mark.broker
def test_the_newest_picture_is_retained_only_where_that_is_wanted(
    tmp_path: Path, broker: Broker
) -> None:
    topic = TOPICS.camera_snapshot("yard")
    run(tmp_path, broker.url, SystemClock())
    with Subscriber(broker.port, topic="vigil/#") as subscriber:
        wait_until(lambda: subscriber.last(TOPICS.state) is not None)
        assert topic not in [name for name, _, _ in subscriber.messages]
    run(tmp_path, broker.url, SystemClock(), snapshots=True)
    with Subscriber(broker.port, topic=topic) as subscriber:
        wait_until(lambda: subscriber.messages)
        ((_, picture, retained),) = subscriber.messages
    assert retained
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (40, 60, 3)
