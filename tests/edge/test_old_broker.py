"""A broker that says nothing to MQTT 5: whoever speaks to brokers tries the older version then."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from edge.config import Config
from edge.doctor.reach import check_broker
from edge.launch import broker_settings
from edge.publish.connection import ConnectionLostError
from edge.publish.once import publish_retained
from edge.watch import Watcher
from engines.errors import UnavailableError


@pytest.fixture
def old_broker() -> Iterator[tuple[Config, list[int]]]:
    """Closes a connection in MQTT 5 without a word, and one in 3.1.1 when it has let it in."""
    versions: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    with peer:
                        connect = peer.recv(4096)
                        if len(connect) < 9:  # a look whether anybody listens
                            continue
                        versions.append(connect[8])
                        if versions[-1] == 4:
                            peer.sendall(bytes([0x20, 2, 0, 0]))

        threading.Thread(target=serve, daemon=True).start()
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        values = {"bundle": "b", "state": "s", "cameras": {"yard": {"source": "clip"}}}
        yield (
            Config.model_validate({"schema_version": 1, "mqtt": {"url": url}, **values}),
            versions,
        )


def doctor(config: Config) -> None:
    assert check_broker(config).grade == "fail"  # it was let in, and then thrown out


def remove(config: Config) -> None:
    with pytest.raises(ConnectionLostError):
        publish_retained(broker_settings(config), "homeassistant/device/vigil_x/config", "")


def watch(config: Config) -> None:
    settings = broker_settings(config)
    watcher = Watcher(address=settings.address, login=settings.login, topic="vigil/+/event")
    with contextlib.suppress(UnavailableError):
        list(watcher.listen(timeout_s=3.0))


@pytest.mark.parametrize("speak", [doctor, remove, watch])
def test_it_is_spoken_to_in_its_own_protocol(
    old_broker: tuple[Config, list[int]], speak: Callable[[Config], None]
) -> None:
    config, versions = old_broker
    speak(config)
    assert versions[:2] == [5, 4]
