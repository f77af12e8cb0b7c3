"""A real mosquitto on a loopback port of its own, and a subscriber that remembers what it heard."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

START_S = 10.0


def mosquitto_path() -> str:
    """Where mosquitto is; the test is skipped without it, and fails in CI."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = "mosquitto is not installed (apt install mosquitto)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, timeout_s: float = 10.0, what: str = "") -> None:
    """Wait for something to become true, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what or condition}")
        time.sleep(0.01)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


class Broker:
    """A mosquitto process that can be stopped, killed and started again on the same port."""

    def __init__(self, folder: Path, *, extra: str = "", tls: str = "") -> None:
        self.port = free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://127.0.0.1:{self.port}"
        # Listeners of the tests need no TLS to hear what came in over it.
        self.plain_port = free_port() if tls else self.port
        self._program = mosquitto_path()
        self._config = folder / f"mosquitto-{self.port}.conf"
        access = "" if "allow_anonymous" in extra else "allow_anonymous true\n"
        plain = f"listener {self.plain_port} 127.0.0.1\n" if tls else ""
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{tls}\n{plain}{access}persistence false\n"
            f"log_dest stderr\nuser {os.environ.get('USER', 'root')}\n{extra}\n"
        )
        self._log = folder / f"mosquitto-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while True:
            if all(map(_answers, (self.port, self.plain_port))):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"mosquitto did not start: {self._log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Power cut: no good-bye, sessions lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Hung: connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(timeout=10)
            self._process = None


@contextlib.contextmanager
def running_broker(folder: Path, *, extra: str = "", tls: str = "") -> Iterator[Broker]:
    """A broker for one test; `tls`: lines of its configuration that give its listener TLS."""
    broker = Broker(folder, extra=extra, tls=tls)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Proxy:
    """A TCP relay on loopback that can be cut: the network between a client and a broker."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._blocked = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def cut(self) -> None:
        """End all connections and refuse new ones until `mend`."""
        with self._lock:
            self._blocked = True
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._sockets.clear()

    def mend(self) -> None:
        with self._lock:
            self._blocked = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        with self._lock:
            if self._blocked:
                client.close()
                return
            try:
                target = socket.create_connection(("127.0.0.1", self._target_port), timeout=2)
            except OSError:
                client.close()
                return
            target.settimeout(None)
            self._sockets += [client, target]
        for source, sink in ((client, target), (target, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Subscriber:
    """Hears everything below `topic` and remembers it; reconnects when the broker returns.

    At QoS 0 it writes nothing, so that what a dying broker had still sent is read to its end; at
    QoS 1 the acknowledgement to a dead broker fails and the library throws away what is unread.
    And at QoS 1 a broker without persistence holds back messages for a listener that lags (20 at a
    time); it has acknowledged them to us, and they die with it. A listener at QoS 0 has them in
    its socket. So tests that kill brokers listen at QoS 0.
    """

    def __init__(
        self, port: int, *, topic: str = "vigil/#", client_id: str = "listener", qos: int = 1
    ) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.ready = threading.Event()
        self._topic = topic
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, qos=qos)
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_disconnect = lambda *_: self.ready.clear()
        self._client.on_message = lambda _c, _u, m: self.messages.append(
            (m.topic, bytes(m.payload), m.retain)
        )
        self._port = port

    def __enter__(self) -> Subscriber:
        # A broker that hangs for minutes must not cost the listener its subscription.
        self._client.connect("127.0.0.1", self._port, keepalive=3600)
        self._client.loop_start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def events(self) -> list[dict[str, Any]]:
        """Messages of event topics, in the order of arrival, duplicates and all."""
        return [json.loads(p) for topic, p, _ in list(self.messages) if topic.endswith("/event")]

    def last(self, topic: str) -> str | None:
        """The newest payload on a topic."""
        found = [payload.decode() for name, payload, _ in list(self.messages) if name == topic]
        return found[-1] if found else None


def without_repeats(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a subscriber keeps: each (stream_id, seq) once, at its first arrival."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for event in events:
        key = (event["stream_id"], event["seq"])
        if key not in seen:
            seen.add(key)
            kept.append(event)
    return kept
