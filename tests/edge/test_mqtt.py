"""Outbox to broker, against a real mosquitto that is killed, restarted and frozen meanwhile."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.broker import (
    Broker,
    Proxy,
    Subscriber,
    free_port,
    mosquitto_path,
    running_broker,
    wait_until,
    without_repeats,
)
from support.publishing import TOPICS, line

from edge.publish.address import Login
from edge.publish.connection import Protocol

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def numbers(subscriber: Subscriber) -> list[int]:
    return [event["seq"] for event in without_repeats(subscriber.events())]


def test_messages_arrive_once_each_in_order_not_retained(tmp_path: Path, broker: Broker) -> None:
    with Subscriber(broker.port) as subscriber, line(tmp_path, broker.url) as one:
        one.send(200)
        wait_until(one.empty)
        wait_until(lambda: len(subscriber.events()) == 200)
        assert [event["seq"] for event in subscriber.events()] == list(range(1, 201))
    with Subscriber(broker.port, client_id="late", topic="vigil/+/event") as late:
        time.sleep(0.1)
        assert late.events() == []


def test_a_broker_killed_while_messages_flow_loses_none_and_disorders_none(tmp_path: Path) -> None:
    """Sessions die with the broker; a relay keeps the publisher away until the listener is back."""
    total = 700
    with (
        running_broker(tmp_path) as broker,
        Proxy(broker.port) as network,
        Subscriber(broker.port, qos=0) as subscriber,
        line(tmp_path, network.url) as one,
    ):
        sender = threading.Thread(target=one.send, args=(total,))
        sender.start()
        for _ in range(3):
            heard = len(subscriber.messages)
            wait_until(lambda h=heard: len(subscriber.messages) > h + 40)
            subscriber.ready.clear()
            broker.kill()
            network.cut()
            broker.start()
            assert subscriber.ready.wait(10)
            network.mend()
        sender.join()
        wait_until(one.empty, timeout_s=20)
        wait_until(lambda: numbers(subscriber)[-1:] == [total])
        assert one.publisher.state.connects >= 4
    assert numbers(subscriber) == list(range(1, total + 1))


def test_a_network_that_is_cut_again_and_again_loses_none(tmp_path: Path, broker: Broker) -> None:
    total = 500
    with (
        Proxy(broker.port) as network,
        Subscriber(broker.port) as subscriber,
        line(tmp_path, network.url) as one,
    ):
        sender = threading.Thread(target=one.send, args=(total,))
        sender.start()
        for _ in range(6):
            heard = len(subscriber.messages)
            wait_until(lambda h=heard: len(subscriber.messages) > h + 20)
            network.cut()
            network.mend()
        sender.join()
        wait_until(one.empty, timeout_s=20)
        wait_until(lambda: numbers(subscriber)[-1:] == [total])
    assert numbers(subscriber) == list(range(1, total + 1))


def test_a_broker_that_comes_later_gets_everything(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        broker.kill()
        with line(tmp_path, broker.url) as one:
            one.send(50)
            wait_until(lambda: one.outbox.depth().rows == 50)
            wait_until(lambda: one.publisher.state.last_error is not None)
            assert not one.publisher.state.connected
            broker.start()
            wait_until(one.empty)
            assert one.publisher.state.delivered == 50


def test_what_is_left_goes_out_at_the_next_start(tmp_path: Path) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    with line(tmp_path, url, flush_s=0.0) as one:
        one.send(30)
        wait_until(lambda: one.outbox.depth().rows == 30)
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with line(tmp_path, broker.url) as one:
            one.send(5, first=30)
            wait_until(one.empty)
        wait_until(lambda: len(subscriber.events()) == 35)
        assert numbers(subscriber) == list(range(1, 36))
        assert [event["n"] for event in subscriber.events()] == list(range(35))


# 300 in the long run (`make soak`).
HANG_S = float(os.environ.get("VIGIL_HANG_S", "4"))


@pytest.mark.timeout(60 + 3 * HANG_S)
def test_a_broker_that_hangs_and_comes_back_loses_nothing(tmp_path: Path, broker: Broker) -> None:
    """Long enough that the connection is given up, and new ones find a server that is silent."""
    with (
        Subscriber(broker.port) as subscriber,
        line(tmp_path, broker.url, keepalive_s=1) as one,
    ):
        one.send(10)
        wait_until(one.empty)
        broker.freeze()
        begin, sent = time.monotonic(), 10
        while time.monotonic() - begin < HANG_S:
            one.send(1, first=sent)
            sent += 1
            time.sleep(0.02)
        wait_until(lambda: not one.publisher.state.connected)
        assert one.outbox.depth().rows == sent - 10
        broker.thaw()
        # What piled up in a long hang takes a busy machine its time; a short one is as before.
        wait_until(one.empty, timeout_s=20 + sent / 50)
        wait_until(lambda: numbers(subscriber)[-1] == sent, timeout_s=20)
        assert numbers(subscriber) == list(range(1, sent + 1))


def test_a_broker_that_hangs_for_good_is_noticed_by_the_keep_alive(tmp_path: Path) -> None:
    """A server that accepts and says CONNACK once, then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        accepted: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    accepted.append(peer)
                    peer.recv(4096)
                    peer.sendall(bytes([0x20, 3, 0, 0, 0]))  # CONNACK, success, no properties

        threading.Thread(target=serve, daemon=True).start()
        with line(tmp_path, f"mqtt://127.0.0.1:{port}", keepalive_s=1, flush_s=0.0) as one:
            one.send(20)
            wait_until(lambda: one.publisher.state.connects >= 2, timeout_s=15)
            assert one.outbox.depth().rows == 20
        for peer in accepted:
            peer.close()


def test_the_last_will_says_offline_when_the_connection_dies(
    tmp_path: Path, broker: Broker
) -> None:
    with (
        Subscriber(broker.port) as subscriber,
        Proxy(broker.port) as network,
        line(tmp_path, network.url),
    ):
        wait_until(lambda: subscriber.last(TOPICS.status) == "online")
        network.cut()
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        network.mend()
        wait_until(lambda: subscriber.last(TOPICS.status) == "online")


def test_a_clean_stop_says_offline_itself_and_it_is_retained(
    tmp_path: Path, broker: Broker
) -> None:
    with Subscriber(broker.port) as subscriber:
        with line(tmp_path, broker.url):
            wait_until(lambda: subscriber.last(TOPICS.status) == "online")
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        assert [m for m in subscriber.messages if m[1] == b"offline"] == [
            (TOPICS.status, b"offline", False)
        ]
    with Subscriber(broker.port, client_id="late") as late:
        wait_until(lambda: (TOPICS.status, b"offline", True) in late.messages)


def test_retained_states_come_before_online_and_again_on_every_connect(
    tmp_path: Path, broker: Broker
) -> None:
    alarm, many = TOPICS.camera_alarm("yard"), 100
    with (
        Proxy(broker.port) as network,
        Subscriber(broker.port) as subscriber,
        line(tmp_path, network.url) as one,
    ):
        wait_until(lambda: one.publisher.state.connected)
        one.publisher.retain(alarm, "ON")
        wait_until(lambda: subscriber.last(alarm) == "ON")
        for number in range(many):  # more than may be under way at once
            one.publisher.retain(TOPICS.camera_state(f"c{number}"), "{}")
        network.cut()
        one.publisher.retain(alarm, "OFF")
        wait_until(lambda: subscriber.last(TOPICS.status) == "offline")
        subscriber.messages.clear()
        network.mend()
        wait_until(lambda: subscriber.last(TOPICS.status) == "online")
        topics = [topic for topic, _, _ in subscriber.messages]
        assert topics[-1] == TOPICS.status
        assert len(topics) == many + 2
        assert subscriber.last(alarm) == "OFF"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_both_protocols(tmp_path: Path, broker: Broker, protocol: Protocol) -> None:
    with Subscriber(broker.port) as subscriber:
        with line(tmp_path, broker.url, protocol=protocol) as one:
            one.send(40)
            wait_until(one.empty)
        wait_until(lambda: len(subscriber.events()) == 40)


def test_an_old_broker_is_spoken_to_in_its_own_protocol(tmp_path: Path) -> None:
    """A server that refuses MQTT 5 the way old brokers do, and takes 3.1.1."""
    versions: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    versions.append(peer.recv(4096)[8])  # protocol level in CONNECT
                    peer.sendall(bytes([0x20, 2, 0, 0 if versions[-1] == 4 else 1]))

        threading.Thread(target=serve, daemon=True).start()
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        with line(tmp_path, url, flush_s=0.0) as one:
            wait_until(lambda: one.publisher.state.connected)
    assert versions == [5, 4]


def test_a_login_is_needed_and_a_wrong_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password = tmp_path / "passwords"
    mosquitto_path()  # the package holds both programs; skips without it, and fails in CI
    tool = shutil.which("mosquitto_passwd")
    assert tool is not None
    subprocess.run([tool, "-c", "-b", str(password), "vigil", "right"], check=True)
    password.chmod(0o644)
    extra = f"allow_anonymous false\npassword_file {password}"
    with running_broker(tmp_path, extra=extra) as broker:
        with line(tmp_path, broker.url, login=Login("vigil", "wrong-one"), flush_s=0.0) as one:
            one.send(3)
            wait_until(lambda: one.publisher.state.last_error is not None)
            assert "ot authorized" in str(one.publisher.state.last_error)
            assert one.publisher.state.connects == 0
        with line(tmp_path, broker.url, login=Login("vigil", "right")) as one:
            wait_until(one.empty)
    captured = capsys.readouterr()
    assert "mqtt_refused" in captured.out + captured.err
    assert "wrong-one" not in captured.out + captured.err


def test_a_broker_that_refuses_our_messages_gets_them_later(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic read #\ntopic write {TOPICS.root}/status\n")
    rules.chmod(0o644)
    with running_broker(tmp_path, extra=f"acl_file {rules}") as broker:
        with line(tmp_path, broker.url, flush_s=0.0) as one:
            one.send(5)
            wait_until(lambda: "refuses messages" in str(one.publisher.state.last_error))
            assert one.outbox.depth().rows == 5
        broker.stop()
        rules.write_text("topic readwrite #\n")
        broker.start()
        with Subscriber(broker.port) as subscriber:
            with line(tmp_path, broker.url) as one:
                wait_until(one.empty)
            wait_until(lambda: numbers(subscriber) == [1, 2, 3, 4, 5])


def test_stopping_never_waits_for_a_broker_that_is_not_there(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with line(tmp_path, f"mqtt://127.0.0.1:{free_port()}", flush_s=0.3) as one:
        one.send(3)
        wait_until(lambda: one.publisher.state.last_error is not None)
        begin = time.monotonic()
    assert time.monotonic() - begin < 2.0
    assert set(threading.enumerate()) <= before


def test_a_broker_that_keeps_silent_at_the_new_protocol_is_tried_with_the_old_one(
    tmp_path: Path,
) -> None:
    """Closes the connection at MQTT 5 without a word; after a success it is not doubted again."""
    versions: list[int] = []
    peers: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    versions.append(peer.recv(4096)[8])  # protocol level in CONNECT
                    if versions[-1] == 4:
                        peer.sendall(bytes([0x20, 2, 0, 0]))
                        peers.append(peer)
                    else:
                        peer.close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        with line(tmp_path, url, flush_s=0.0) as one:
            wait_until(lambda: one.publisher.state.connects == 1)
            wait_until(lambda: len(peers) == 1)
            peers[0].close()
            wait_until(lambda: one.publisher.state.connects == 2)
        peers[-1].close()
    assert versions == [5, 4, 4]
