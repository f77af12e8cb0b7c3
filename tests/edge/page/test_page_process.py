"""The page's process and thread in the daemon: killed, hung, at fault; nothing is left behind."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.broker import wait_until
from support.page import DEVICE, EventReader, Stage, get, status
from support.seccomp import SETPRIORITY

from edge.clock import SystemClock
from edge.page import pump
from edge.page.observer import PageObserver
from edge.page.settings import PageSettings


def test_a_killed_process_comes_back_with_everything(tmp_path: Path) -> None:
    with Stage(tmp_path, PageSettings(port=0)) as one:
        one.event("yard")
        before = one.observer._pump._process
        assert before is not None
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: one.observer._pump._process not in (None, before), timeout_s=20)
        state = get(one.port, "/api/v1/state").json()
        assert len(state["events"]) == 1
        assert [camera["name"] for camera in state["cameras"]] == ["yard", "door"]


def test_a_fault_of_the_pump_costs_a_pause_and_not_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "_PAUSES_S", (0.2, 0.2))
    with Stage(tmp_path, PageSettings(port=0)) as one:
        faults = [ZeroDivisionError("a bug")]
        real = one.observer._pump._news

        def news(now_s: float) -> list[Any]:
            if faults:
                raise faults.pop()
            return real(now_s)

        monkeypatch.setattr(one.observer._pump, "_news", news)
        wait_until(lambda: not faults)
        identifier = one.event("yard")

        def shown() -> list[str]:
            return [event["id"] for event in get(one.port, "/api/v1/state").json()["events"]]

        wait_until(lambda: shown() == [identifier], timeout_s=30)


def test_a_process_that_hangs_is_replaced_and_no_event_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.page.process.SEND_S", 0.5)
    with Stage(tmp_path, PageSettings(port=0)) as one:
        before = one.observer._pump._process
        assert before is not None
        os.kill(before.pid, signal.SIGSTOP)
        why = {"kind": "noise", "text": "x" * 20_000}
        meanwhile = []
        end = time.monotonic() + 20
        while one.observer._pump._process is before and time.monotonic() < end:
            one.observer._inbox.put(why)
            meanwhile.append(one.event("yard"))
            time.sleep(0.01)
        assert one.observer._pump._process is not before
        wait_until(lambda: get(one.port, "/healthz").status == 200, timeout_s=20)

        def shown() -> list[str]:
            return [event["id"] for event in get(one.port, "/api/v1/state").json()["events"]]

        # The new process answers before it has been told everything.
        wait_until(lambda: len(shown()) >= min(len(meanwhile), 100), timeout_s=20)
        found = shown()
        assert found == meanwhile[::-1][: len(found)]


def test_the_daemon_never_waits_for_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, free = threading.Event(), threading.Event()

    def send(*_: object) -> None:
        stuck.set()
        free.wait(30)

    with Stage(tmp_path, PageSettings(port=0)) as one:
        monkeypatch.setattr(one.observer._pump._process, "send", send)
        one.observer.camera_changed(status("yard", "lost"))
        assert stuck.wait(20)
        for _ in range(200):
            one.event("yard")
            one.observer.camera_changed(status("yard"))
        assert not free.is_set()  # all that was told while the page's thread stood still
        free.set()


def test_a_port_that_is_taken_is_told_once_and_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "_PAUSES_S", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = Stage(tmp_path, PageSettings(port=port))
        observer = PageObserver(settings=one.settings, device=DEVICE, clock=SystemClock())
        observer.started([])
        time.sleep(1.0)
        assert observer.port is None
    wait_until(lambda: observer.port == port, timeout_s=20)
    observer.stopped()
    said = capfd.readouterr()
    assert (said.err + said.out).count("page_not_served") == 1


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with Stage(tmp_path, PageSettings(port=0)) as one:
        one.event("yard")
        process = one.observer._pump._process
        assert process is not None
        reader = EventReader(one.port)
    assert not process.alive
    reader.close()
    kept = json.loads((tmp_path / "page_events.json").read_text())
    assert [event["phase"] for event in kept] == ["end"]


def test_a_large_board_waits_for_a_process_that_is_slow_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Less than the imports of the process take, on any machine; and more than a socket holds.
    monkeypatch.setattr("edge.page.process.SEND_S", 0.05)
    events = [
        {
            "id": f"e{number}",
            "phase": "end",
            "rev": 2,
            "camera": "yard",
            "started_at": "2026-07-01T21:14:03.120Z",
            "why": "x" * 10_000,
        }
        for number in range(200)
    ]
    (tmp_path / "page_events.json").write_text(json.dumps(events))
    with Stage(tmp_path, PageSettings(port=0)) as one:
        first = one.observer._pump._process
        monkeypatch.setattr("edge.page.process.SEND_S", 5.0)
        wait_until(lambda: len(get(one.port, "/api/v1/state").json()["events"]) == 200)
        wait_until(lambda: len(get(one.port, "/api/v1/state").json()["cameras"]) == 2)
        state = get(one.port, "/api/v1/state").json()
        assert [camera["name"] for camera in state["cameras"]] == ["yard", "door"]
        assert one.observer._pump._process is first


UNDER_THE_UNIT = """
import os, sys
from pathlib import Path
from support.page import PageSettings, Stage, get
from support.seccomp import refuse_priorities
refuse_priorities()
try:
    os.nice(1)
except PermissionError:
    with Stage(Path(sys.argv[1]), PageSettings(port=0)) as one:
        print(get(one.port, "/healthz").status)
"""


@pytest.mark.skipif(
    platform.machine() not in SETPRIORITY, reason="no number of setpriority for this machine"
)
def test_it_serves_where_the_unit_lets_nobody_change_a_priority(tmp_path: Path) -> None:
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", UNDER_THE_UNIT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"},
        check=False,
    )
    assert done.stdout.split()[-1:] == ["200"], done.stderr[-2000:]
