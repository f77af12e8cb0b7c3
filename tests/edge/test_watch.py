"""The subscriber's side: each message once, losses told, hostile input harmless."""

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt import publish
from support.broker import free_port, running_broker
from support.clock import ManualClock
from support.scores import detector, frame, scored

from edge.cli.watch import watch
from edge.events.tracker import EventTracker
from edge.publish.address import BrokerAddress, Login
from edge.publish.protocol import ProtocolChoice
from edge.watch import Reader, Watcher, describe
from engines.errors import RefusedError, TemporaryError, UnavailableError, UsageError

STREAM = "0190a3f2-5a2e-7c44-9b1e-3f0a2d6c8e11"


def message(seq: int, phase: str = "start", **changes: Any) -> dict[str, Any]:
    return {"stream_id": STREAM, "seq": seq, "phase": phase, "device": "gate-01", **changes}


def read(reader: Reader, payload: object) -> list[str]:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return [heard.line for heard in reader.read("vigil/gate-01/event", raw)]


def test_repeats_are_left_out_and_jumps_are_told() -> None:
    reader = Reader()
    assert len(read(reader, message(5))) == 1  # what came before we listened is no loss
    assert read(reader, message(5)) == []
    assert read(reader, message(4)) == []
    assert len(read(reader, message(6))) == 1
    assert read(reader, message(9))[0] == "gate-01: 2 message(s) before this one did not arrive"
    assert len(read(reader, message(1, stream_id=STREAM[:-1] + "2"))) == 1


def test_a_jump_that_a_gap_names_is_no_loss() -> None:
    reader = Reader()
    read(reader, message(5))
    gap = message(9, "gap", from_seq=6, to_seq=9, count=4, reason="outbox_full", at="now")
    assert read(reader, gap) == ["now  gate-01  GAP  messages 6 to 9 were dropped: outbox_full"]
    assert len(read(reader, message(10))) == 1
    late = message(8, "gap", from_seq=8, to_seq=8, count=1, reason="refused", at="now")
    assert len(read(reader, late)) == 1


def test_a_line_for_people() -> None:
    tracker = EventTracker(
        device="gate-01", camera="yard", detector=detector(), clock=ManualClock()
    )
    reports = [
        r for i in range(40) for r in tracker.update(frame(i), scored(frame(i), 4.5 * (i < 9)))
    ]
    start, end = (report.event.payload() for report in reports)
    assert describe(start) == (
        "2026-07-01T21:14:00.000Z  gate-01/yard  START   peak 4.50 (threshold 3.00)  at 0.00 s  "
        "centre: moves unlike anything seen here; looks unlike 99.9 % of what was seen here"
    )
    assert "END     peak 4.50 (threshold 3.00)  after 1.80 s, normal" in describe(end)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[1,2]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"stream_id":"x","seq":1,"phase":"start","pad":"' + b"x" * 300_000 + b'"}',
        b'{"stream_id":"x","seq":true,"phase":"start"}',
        b'{"stream_id":"x","seq":0,"phase":"start"}',
        b'{"stream_id":"x","seq":9223372036854775808,"phase":"start"}',
        b'{"stream_id":"x","seq":1,"phase":"start","score":NaN}',
        b'{"stream_id":"' + b"x" * 65 + b'","seq":1,"phase":"start"}',
        b'{"stream_id":"x","seq":1,"phase":"start","a":' + b"[" * 17 + b"]" * 17 + b"}",
        b'{"stream_id":"x","seq":1,"phase":["start"]}',
        b'{"stream_id":"x","seq":' + b"9" * 5000 + b',"phase":"start"}',
    ],
)
def test_what_is_no_event_is_left_out_with_a_remark(raw: bytes) -> None:
    (line,) = read(Reader(), raw)
    assert line == "vigil/gate-01/event: a message that is no vigil event was left out"


def test_nothing_reaches_the_terminal_as_a_control_character() -> None:
    evil = "\x1b]0;owned\x07\r\n\u202e" + "x" * 2000
    keys = ("device", "camera", "at", "why", "reason", "peak_score", "snapshot")
    (line,) = read(Reader(), message(1, "end", **dict.fromkeys(keys, evil)))
    assert line.isprintable()
    assert len(line) <= 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=100),
            st.fixed_dictionaries(
                {"stream_id": json_values, "seq": st.integers(-3, 9), "phase": json_values}
            ),
            st.fixed_dictionaries(
                {
                    "stream_id": st.just("s"),
                    "seq": st.integers(-3, 9),
                    "phase": st.sampled_from(["start", "update", "end", "gap"]),
                },
                optional=dict.fromkeys(
                    ("device", "from_seq", "why", "snapshot", "peak_score", "duration_s"),
                    json_values,
                ),
            ),
        ),
        max_size=8,
    )
)
def test_any_sequence_of_messages_is_read_or_left_out(messages: list[object]) -> None:
    reader = Reader()
    for one in messages:
        for line in read(reader, one):
            assert line.isprintable()


@pytest.mark.broker
def test_the_command_prints_lines_or_json_and_ends_by_count(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        stop = threading.Event()

        def send() -> None:
            seq = 0
            while not stop.wait(0.05):
                seq += 1
                publish.single(
                    "vigil/gate-01/event",
                    json.dumps(message(seq, why="motion")),
                    qos=1,
                    hostname="127.0.0.1",
                    port=broker.port,
                )

        sender = threading.Thread(target=send)
        sender.start()
        try:
            lines = CliRunner().invoke(watch, [broker.url, "--count", "2", "--timeout", "10"])
            as_json = CliRunner().invoke(watch, [broker.url, "--json", "--count", "2"])
            other = CliRunner().invoke(
                watch, [broker.url, "--device", "other", "--count", "1", "--timeout", "0.5"]
            )
        finally:
            stop.set()
            sender.join()
    assert lines.exit_code == 0
    assert len(lines.stdout.splitlines()) == 2
    assert lines.stderr.startswith(f"listening at {broker.url} for vigil/+/event")
    found = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert found[1]["seq"] == found[0]["seq"] + 1
    assert isinstance(other.exception, TemporaryError)
    assert "0 of 1 messages" in str(other.exception)


@pytest.mark.broker
def test_it_listens_again_when_the_broker_returns(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        watcher = Watcher(
            address=BrokerAddress.parse(broker.url), login=Login(), topic="vigil/+/event"
        )
        heard = watcher.listen(timeout_s=20)
        assert next(heard).line.startswith("listening")
        broker.kill()
        assert "trying again" in next(heard).line
        broker.start()
        assert next(heard).line.startswith("listening")
        time.sleep(0.1)
        publish.single(
            "vigil/gate-01/event",
            json.dumps(message(1)),
            qos=1,
            hostname="127.0.0.1",
            port=broker.port,
        )
        assert next(heard).payload is not None
        heard.close()


def refuse_subscription(server: socket.socket, connack: bytes, suback: bytes) -> None:
    """A broker that lets one client in and takes no subscription (mosquitto's lists cannot)."""
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(connack)
        packet = client.recv(4096)
        client.sendall(suback[:2] + packet[2:4] + suback[2:])
        client.recv(4096)


@pytest.mark.parametrize(
    ("protocol", "connack", "suback"),
    [
        ("5", b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x87"),
        ("3.1.1", b"\x20\x02\x00\x00", b"\x90\x03\x80"),
    ],
)
def test_a_broker_that_will_not_send_is_told_and_not_waited_for(
    protocol: Any, connack: bytes, suback: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=refuse_subscription, args=(server, connack, suback))
        thread.start()
        address = BrokerAddress.parse(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        watcher = Watcher(address=address, login=Login(), topic="vigil/+/event")
        watcher._protocol = ProtocolChoice(protocol)
        with pytest.raises(RefusedError, match="does not let us listen") as caught:
            list(watcher.listen(timeout_s=20.0))
        thread.join(10)
    assert "access list" in (caught.value.mend or "")


@pytest.mark.parametrize(
    "arguments", [("--device", "a#b"), ("--device", "+/x"), ("--prefix", ""), ("--prefix", "a//b")]
)
def test_topics_that_cannot_be_are_wrong_use(arguments: tuple[str, str]) -> None:
    error = CliRunner().invoke(watch, ["mqtt://127.0.0.1:1", *arguments]).exception
    assert isinstance(error, UsageError)
    assert (error.where, bool(error.mend)) == (arguments[0], True)


def test_an_absent_broker_and_a_password_on_the_command_line_are_told() -> None:
    absent = CliRunner().invoke(watch, [f"mqtt://127.0.0.1:{free_port()}"])
    assert isinstance(absent.exception, UnavailableError)
    secret = CliRunner().invoke(watch, ["mqtt://bob:hunter2@localhost"])
    assert isinstance(secret.exception, UsageError)
    assert "hunter2" not in str(secret.exception)
