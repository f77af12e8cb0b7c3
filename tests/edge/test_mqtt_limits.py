"""What a broker cannot do, or will not: large messages, retaining, QoS 1, nonsense."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.broker import Proxy, Subscriber, running_broker, wait_until
from support.publishing import TOPICS, line

from edge.publish.address import BrokerAddress, Login
from edge.publish.connection import Connection, ConnectionLostError
from edge.publish.limits import BrokerLimits

pytestmark = pytest.mark.broker


def test_a_message_too_large_for_the_broker_is_put_aside_and_named_by_a_gap(
    tmp_path: Path,
) -> None:
    """A broker ends the connection at a packet that is too large: it would block all others."""
    with (
        running_broker(tmp_path, extra="max_packet_size 3000") as broker,
        Subscriber(broker.port) as subscriber,
        line(tmp_path, broker.url) as one,
    ):
        one.publisher.retain(TOPICS.camera_snapshot("yard"), b"x" * 5000)
        one.send(2)
        one.send(1, first=2, filler=4000)
        one.send(2, first=3)
        wait_until(one.empty)
        wait_until(lambda: len(subscriber.events()) == 5)
        assert one.publisher.state.connects == 1
    events = subscriber.events()
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
    gap = events[2]
    assert (gap["phase"], gap["from_seq"], gap["to_seq"]) == ("gap", 3, 3)
    assert gap["reason"] == "refused"


def test_the_limit_is_the_brokers_to_the_byte(tmp_path: Path) -> None:
    limits = BrokerLimits(packet_bytes=300)
    largest = next(n for n in range(300, 0, -1) if limits.takes("vigil/d/event", b"x" * n))
    with running_broker(tmp_path, extra="max_packet_size 300") as broker:
        address = BrokerAddress.parse(broker.url)
        with Connection(
            address=address, login=Login(), client_id="one", protocol="5"
        ) as connection:
            while not connection.established:
                connection.poll(0.5)
            assert connection.limits.packet_bytes == 300
            connection.publish("vigil/d/event", b"x" * largest, expiry_s=60)
            acks = connection.poll(5.0)
            assert len(acks) == 1
    assert BrokerLimits().takes("t", b"x" * 10**7)


def test_a_broker_too_narrow_for_any_message_is_told_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with (
        running_broker(tmp_path, extra="max_packet_size 120") as broker,
        line(tmp_path, broker.url, flush_s=0.0) as one,
    ):
        one.send(3)
        wait_until(lambda: "as large as the smallest" in str(one.publisher.state.last_error))
        assert one.publisher.state.blocked
        assert one.outbox.depth().rows == 3


def test_a_broker_that_cannot_retain_gets_events_and_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        running_broker(tmp_path, extra="retain_available false") as broker,
        Subscriber(broker.port) as subscriber,
        line(tmp_path, broker.url) as one,
    ):
        one.publisher.retain(TOPICS.state, "{}")
        one.send(3)
        wait_until(lambda: len(subscriber.events()) == 3)
        assert one.publisher.state.connects == 1
        assert one.publisher.state.retain_missing
        assert subscriber.last(TOPICS.state) == "{}"
    captured = capsys.readouterr()
    assert "mqtt_no_retain" in captured.out + captured.err


def test_a_broker_without_qos_1_can_acknowledge_nothing_so_it_gets_nothing(
    tmp_path: Path,
) -> None:
    with (
        running_broker(tmp_path, extra="max_qos 0") as broker,
        line(tmp_path, broker.url, flush_s=0.0, protocol="5") as one,
    ):
        one.send(3)
        wait_until(lambda: "QoS" in str(one.publisher.state.last_error))
        assert one.publisher.state.blocked
        assert one.outbox.depth().rows == 3


def test_messages_that_nobody_hears_are_counted(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, line(tmp_path, broker.url) as one:
        one.send(4)
        wait_until(lambda: one.publisher.state.delivered == 4)
        assert one.publisher.state.unheard == 4
        with Subscriber(broker.port):
            one.send(2, first=4)
            wait_until(lambda: one.publisher.state.delivered == 6)
        assert one.publisher.state.unheard == 4


def test_a_short_cut_is_not_told_as_offline(tmp_path: Path) -> None:
    """The will waits for us: who comes back in time was never away."""
    with (
        running_broker(tmp_path) as broker,
        Proxy(broker.port) as network,
        Subscriber(broker.port) as subscriber,
        line(tmp_path, network.url, will_delay_s=3),
    ):
        for times in range(1, 5):
            wait_until(lambda n=times: [m[1] for m in subscriber.messages].count(b"online") == n)
            if times < 4:
                network.cut()
                network.mend()
        assert b"offline" not in [payload for _, payload, _ in subscriber.messages]
        network.cut()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")


@contextlib.contextmanager
def nonsense_server(answers: list[bytes]) -> Iterator[int]:
    """Sends each connection the next answer and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                for answer in answers:
                    peer, _ = server.accept()
                    with peer, contextlib.suppress(OSError):
                        peer.recv(4096)
                        peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


CONNACK = bytes([0x20, 3, 0, 0, 0])
packets = st.builds(
    lambda kind, body: bytes([kind, len(body)]) + body, st.integers(0, 255), st.binary(max_size=60)
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["5", "3.1.1"]),
    st.booleans(),
    st.lists(packets | st.binary(max_size=40), max_size=5),
)
def test_any_bytes_from_a_broker_are_an_answer_or_a_lost_connection(
    protocol: str, accepted: bool, chunks: list[bytes]
) -> None:
    answer = (CONNACK if accepted and protocol == "5" else b"") + b"".join(chunks)
    heard: list[bytes] = []

    def listen(port: int) -> None:
        with Connection(
            address=BrokerAddress("127.0.0.1", port),
            login=Login(),
            client_id="one",
            protocol=protocol,  # type: ignore[arg-type]
            on_message=lambda _topic, payload, _retained: heard.append(payload),
        ) as connection:
            for _ in range(100):
                connection.poll(0.5)

    with nonsense_server([answer]) as port, pytest.raises(ConnectionLostError):
        listen(port)
    assert sum(map(len, heard)) <= len(answer)


def test_a_broker_that_talks_nonsense_ends_no_thread(tmp_path: Path) -> None:
    answers = [CONNACK + bytes([0x40, 200]) + b"\xff" * 200, b"HTTP/1.1 400 Bad Request\r\n\r\n"]
    with (
        nonsense_server(answers * 4) as port,
        line(tmp_path, f"mqtt://127.0.0.1:{port}", flush_s=0.0) as one,
    ):
        one.send(2)
        wait_until(lambda: one.publisher.state.last_error is not None)
        wait_until(lambda: one.publisher.state.connects >= 2)
        assert one.publisher.alive
        assert one.outbox.depth().rows == 2
        assert json.dumps(one.publisher.state.last_error)
