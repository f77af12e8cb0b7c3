"""sd_notify over real datagram sockets, of a path and of the abstract namespace."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.service_manager import Manager, manager_at

from edge.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    with manager_at(request.param, tmp_path) as running:
        yield running


def notifier(manager: Manager, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.address, **more})


def test_each_message_is_one_datagram_of_the_documented_form(manager: Manager) -> None:
    one = notifier(manager)
    assert one.active
    one.ready()
    one.alive()
    one.status("2/3 live,\n door lost")
    one.extend(1.5)
    one.stopping()
    one.close()
    assert manager.listen() == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=2/3 live, door lost",  # a newline would end the assignment
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1",
    ]


def test_a_reload_is_one_message_with_the_moment_at_which_it_began(manager: Manager) -> None:
    one = notifier(manager)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    one.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    one.close()
    (heard,) = manager.listen()
    first, second = heard.split("\n")
    assert first == "RELOADING=1"
    name, _, moment = second.partition("=")
    assert (name, before <= int(moment) <= after) == ("MONOTONIC_USEC", True)


def test_a_long_status_is_cut_and_stays_text(manager: Manager) -> None:
    one = notifier(manager)
    one.status("é" * 5000)
    one.close()
    (heard,) = manager.listen()
    assert heard == "STATUS=" + "é" * 400


@pytest.mark.parametrize("address", ["", "relative", "@"])
def test_without_a_manager_nothing_is_sent(address: str) -> None:
    one = Notifier({"NOTIFY_SOCKET": address} if address else {})
    assert not one.active
    one.ready()
    with one.starting(at_most_s=10.0):
        pass
    one.close()


def test_a_manager_that_has_gone_is_logged_and_no_error(tmp_path: Path) -> None:
    with manager_at("path", tmp_path) as manager:
        one = notifier(manager)
    with capture_logs() as logs:
        one.alive()
    one.close()
    assert [line["event"] for line in logs] == ["notify_failed"]


def test_a_manager_that_does_not_read_never_blocks_us(manager: Manager) -> None:
    one = notifier(manager)
    with capture_logs() as logs:
        for _ in range(20_000):  # far more than a socket holds
            one.alive()
    assert logs == []
    assert 0 < len(manager.listen()) < 20_000
    manager.forget()
    one.ready()  # and when it reads again it hears us
    assert manager.listen() == ["READY=1"]
    one.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_says_so(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(environment).watchdog_s == seconds


def test_a_start_that_takes_time_asks_for_it_at_once_and_stops_asking(manager: Manager) -> None:
    one = notifier(manager)
    with one.starting(at_most_s=60.0):
        manager.wait_for("EXTEND_TIMEOUT_USEC=30000000", timeout_s=5.0)
    assert manager.listen() == ["EXTEND_TIMEOUT_USEC=30000000"]
    with one.starting(at_most_s=0.0):
        pass
    one.close()
    assert len(manager.listen()) == 1


def test_the_socket_is_not_inherited(manager: Manager) -> None:
    one = notifier(manager)
    listing = "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in range(3, 20)\
 if os.path.lexists(f'/proc/self/fd/{n}')))"
    seen = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, close_fds=False, check=True
    )
    mine = str(Path(f"/proc/self/fd/{one._socket.fileno()}").readlink()) if one._socket else ""
    one.close()
    assert mine.startswith("socket:")
    assert mine not in seen.stdout
