"""Home Assistant: what is described is there, what is gone goes, and templates render as meant."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from click.testing import CliRunner
from paho.mqtt import publish
from support.broker import Broker, Subscriber, running_broker, wait_until
from support.publishing import TOPICS, Line, line

from edge.capture.camera_state import CameraState
from edge.cli.ha import ha
from edge.clock import SystemClock
from edge.home_assistant import HomeAssistant
from edge.observer import CameraStatus
from edge.publish.home_assistant import birth_topic, discovery_of
from engines.errors import UnavailableError

TOPIC = "homeassistant/device/vigil_gate-01/config"


def described(*cameras: str, snapshots: bool = False) -> dict[str, Any]:
    discovery = discovery_of(
        TOPICS, cameras, prefix="homeassistant", release="1.2.3", snapshots=snapshots
    )
    assert discovery.topic == TOPIC
    found: dict[str, Any] = json.loads(discovery.payload())
    return found


def test_the_payload_holds_what_home_assistant_demands() -> None:
    """After its schema of device discovery: required keys, identifiers, one platform each."""
    told = described("yard", "door-2", snapshots=True)
    assert set(told) == {"device", "origin", "availability", "qos", "components"}
    assert told["device"]["identifiers"] == ["vigil_gate-01"]
    assert told["origin"] == {"name": "vigil", "sw_version": "1.2.3"}
    assert told["availability"] == [{"topic": "vigil/gate-01/status"}]
    components = told["components"]
    assert {key: one["platform"] for key, one in components.items()} == {
        "health": "binary_sensor",
        "outbox": "sensor",
        **{
            f"{camera}_{part}": platform
            for camera in ("yard", "door-2")
            for part, platform in (
                ("alarm", "binary_sensor"),
                ("cam", "binary_sensor"),
                ("event", "event"),
                ("snapshot", "image"),
            )
        },
    }
    identifiers = [one["unique_id"] for one in components.values()]
    assert len(set(identifiers)) == len(identifiers)
    for one in components.values():
        topic = one.get("state_topic") or one["image_topic"]
        assert topic.startswith("vigil/gate-01/")
    assert "yard_snapshot" not in described("yard")["components"]


def render(component: dict[str, Any], value: dict[str, Any]) -> str:
    environment = jinja2.Environment(autoescape=False)  # it makes no HTML
    environment.filters["to_json"] = json.dumps
    text: str = environment.from_string(component["value_template"]).render(value_json=value)
    return text


def test_the_templates_say_what_the_payloads_mean() -> None:
    components = described("yard")["components"]
    assert render(components["yard_cam"], {"state": "live"}) == "ON"
    assert render(components["yard_cam"], {"state": "backoff"}) == "OFF"
    assert render(components["health"], {"degraded": []}) == "OFF"
    assert render(components["health"], {"degraded": ["disk_low"]}) == "ON"
    assert render(components["outbox"], {"outbox": {"rows": 7}}) == "7"
    event = {"kind": "anomaly", "camera": "yard", "phase": "start", "id": "x", "why": 'a "word"'}
    assert json.loads(render(components["yard_event"], event)) == {
        "event_type": "start",
        "id": "x",
        "why": 'a "word"',
    }
    fault = {**event, "kind": "camera"}  # a camera that is away is no anomaly
    late = {**event, "phase": "update"}
    for other in ({**event, "camera": "door"}, late, fault, {"phase": "gap"}):
        assert render(components["yard_event"], other) == ""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def describe(one: Line, *cameras: str, prefix: str | None = "homeassistant") -> None:
    state: CameraState = "live"
    now = SystemClock().utc()
    HomeAssistant(
        publisher=one.publisher,
        outbox=one.outbox,
        topics=TOPICS,
        prefix=prefix,
        release="1.2.3",
        snapshots=False,
    ).started([CameraStatus(name, state, None, now) for name in cameras])


@pytest.mark.broker
def test_a_camera_that_is_gone_and_then_the_device_leave_home_assistant(
    tmp_path: Path, broker: Broker
) -> None:
    with Subscriber(broker.port, topic="homeassistant/#") as subscriber:

        def told() -> list[dict[str, Any]]:
            return [json.loads(p or b"null") for t, p, _ in list(subscriber.messages) if t == TOPIC]

        with line(tmp_path, broker.url) as one:
            describe(one, "yard", "door")
            wait_until(lambda: len(told()) == 1)
            wait_until(lambda: one.outbox.recall("home_assistant") is not None)
        with line(tmp_path, broker.url) as one:
            describe(one, "yard")
            wait_until(lambda: len(told()) == 3)
            wait_until(lambda: "door" not in str(one.outbox.recall("home_assistant")))
        # First with nothing but its platform, then not at all.
        assert told()[1]["components"]["door_alarm"] == {"platform": "binary_sensor"}
        assert told()[1]["components"]["yard_alarm"]["unique_id"] == "vigil_gate-01_yard_alarm"
        assert not [key for key in told()[2]["components"] if key.startswith("door")]
        with line(tmp_path, broker.url) as one:
            describe(one, "yard", prefix=None)
            wait_until(lambda: len(told()) == 4)
            wait_until(lambda: one.outbox.recall("home_assistant") == "null")
        assert told()[3] is None
        with line(tmp_path, broker.url) as one:
            describe(one, "yard", prefix=None)
            wait_until(lambda: one.publisher.state.connected)
        assert len(told()) == 4


def describe_quiet_yard(one: Line) -> None:
    describe(one, "yard")
    one.publisher.retain(TOPICS.camera_alarm("yard"), "OFF")


@pytest.mark.broker
def test_everything_is_told_again_when_home_assistant_is_born(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.publish.session.BIRTH_PAUSE_S", 0.05)
    birth = birth_topic("homeassistant")
    with (
        Subscriber(broker.port, topic="#") as subscriber,
        line(tmp_path, broker.url, birth=birth, first=describe_quiet_yard),
    ):
        wait_until(lambda: subscriber.last(TOPICS.status) == "online")
        topics = [topic for topic, _, _ in subscriber.messages]
        assert topics[0] == TOPIC  # described before anything that is described
        assert topics[-1] == TOPICS.status
        subscriber.messages.clear()
        publish.single(birth, "online", hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: subscriber.last(TOPICS.status) == "online")
        assert [topic for topic, _, _ in subscriber.messages] == [
            birth,
            TOPIC,
            TOPICS.camera_alarm("yard"),
            TOPICS.status,
        ]


@pytest.mark.broker
def test_the_command_takes_the_device_away(tmp_path: Path, broker: Broker) -> None:
    config = tmp_path / "gate.yaml"
    config.write_text(
        f"schema_version: 1\ndevice: gate-01\nbundle: b\nstate: s\nmqtt: {{url: '{broker.url}'}}\n"
        "cameras: {yard: {source: clip.avi}}\n"
    )
    publish.single(TOPIC, "{}", retain=True, qos=1, hostname="127.0.0.1", port=broker.port)
    done = CliRunner().invoke(ha, ["remove", str(config)], catch_exceptions=False)
    assert done.exit_code == 0
    with Subscriber(broker.port, topic="#") as subscriber:
        publish.single("marker", "x", hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: subscriber.last("marker") == "x")
        assert [topic for topic, _, _ in subscriber.messages] == ["marker"]
    broker.kill()
    absent = CliRunner().invoke(ha, ["remove", str(config)])
    assert isinstance(absent.exception, UnavailableError)
