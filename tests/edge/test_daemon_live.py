"""The daemon over live cameras: lost and back, one batch at a common beat, newest frame only."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.broker import Broker, Subscriber, running_broker, wait_until
from support.daemons import TOPICS, Running, daemon, live, of_kind
from support.scores import PlayedPipeline

from edge.daemon_settings import CameraJob
from edge.events.event import load_schema
from engines.errors import DataError, InternalError

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def test_a_live_camera_that_is_lost_ends_its_event_comes_back_and_ends_no_run(
    tmp_path: Path, broker: Broker
) -> None:
    patience = {"stale_s": 30.0, "connect_s": 30.0}
    jobs = [
        CameraJob("yard", live(100.0, lengths=(20, 0, 0, 15), **patience)),
        CameraJob("door", live(100.0, **patience)),
    ]
    one = daemon(tmp_path, broker.url, {"yard": [5.0] * 30, "door": [1.0]}, jobs=jobs)
    with Subscriber(broker.port) as subscriber:
        with Running(one) as running:
            wait_until(
                lambda: [e["phase"] for e in of_kind("anomaly", subscriber)].count("start") == 3,
                timeout_s=60,
            )
            said = [p for t, p, _ in subscriber.messages if t == TOPICS.camera_state("yard")]
            wait_until(lambda: of_kind("camera", subscriber)[-1]["phase"] == "end")
        for message in subscriber.events():
            jsonschema.validate(message, load_schema())
        events, faults = of_kind("anomaly", subscriber), of_kind("camera", subscriber)
    assert [e["reason"] for e in events if e["phase"] == "end"] == [
        "camera_lost",
        "camera_lost",
        "stopped",
    ]
    positions = [e["position_s"] for e in events]
    assert positions == sorted(positions)  # the camera's time runs on over reconnects
    assert {json.loads(p)["state"] for p in said} >= {"live", "backoff"}
    # Four connections broke, two of them before a picture came: two faults, told with their reason.
    assert [(f["phase"], f["cause"], f["reason"]) for f in faults] == [
        ("start", "capture_failed", None),
        ("end", "capture_failed", "recovered"),
    ] * 2
    assert {f["camera"] for f in faults} == {"yard"}
    assert running.summary is not None
    assert running.summary.cameras["yard"].losses == 4
    assert running.summary.cameras["yard"].events == 3  # faults are no anomalies
    assert running.summary.cameras["door"].losses == 0
    assert "lost 4 times" in "\n".join(running.summary.lines())


def test_live_cameras_share_a_batch_at_the_common_beat(tmp_path: Path, broker: Broker) -> None:
    names = ("yard", "door", "gate")
    jobs = [CameraJob(name, live(fps)) for name, fps in zip(names, (60.0, 70.0, 80.0), strict=True)]
    one = daemon(
        tmp_path, broker.url, {name: [1.0] for name in names}, jobs=jobs, analysis_fps=20.0
    )
    pipeline = one._pipeline
    assert isinstance(pipeline, PlayedPipeline)
    begin = time.monotonic()
    with Running(one) as running:
        wait_until(lambda: len(pipeline.steps) >= 20)
    assert pipeline.steps.count(3) >= 0.8 * len(pipeline.steps)
    # Not one step for each of 210 frames a second.
    assert len(pipeline.steps) <= 20.0 * (time.monotonic() - begin) + 2
    assert running.summary is not None
    assert running.summary.cameras["gate"].dropped > 20


def test_a_live_camera_gives_its_newest_frame_only(tmp_path: Path, broker: Broker) -> None:
    class Slow(PlayedPipeline):
        def step(self, work: Any) -> Any:
            time.sleep(0.05)
            return super().step(work)

    one = daemon(tmp_path, broker.url, {"yard": [1.0]}, jobs=[CameraJob("yard", live(200.0))])
    slow = one._loop._pipeline = Slow({"yard": [1.0]})
    with Running(one) as running:
        wait_until(lambda: len(slow.steps) >= 6)
    assert running.summary is not None
    camera = running.summary.cameras["yard"]
    assert camera.frames == len(slow.steps)
    assert camera.dropped > 5 * camera.frames


def test_scoring_that_breaks_over_a_live_camera_is_mended_by_a_restart(
    tmp_path: Path, broker: Broker
) -> None:
    class Broken(PlayedPipeline):
        def step(self, work: Any) -> Any:
            if len(self.steps) >= 10:
                raise DataError("the network gave NaN", where="motion")
            return super().step(work)

    one = daemon(tmp_path, broker.url, {"yard": [5.0]}, jobs=[CameraJob("yard", live(100.0))])
    one._loop._pipeline = Broken({"yard": [5.0]})
    with Subscriber(broker.port) as subscriber:
        with pytest.raises(InternalError, match="scoring broke: the network gave NaN") as caught:
            one.run()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        assert [e["reason"] for e in subscriber.events()] == [None, "stopped"]
    # The unit restarts after this code, and not after that of bad data.
    assert caught.value.exit_code == 70
