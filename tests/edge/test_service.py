"""`vigil run` as a service: a real process and the service manager's side of its socket."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.broker import free_port
from support.bundles import tiny_bundle
from support.service_manager import Manager, manager_at


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(folder / "bundle", workspace=folder).root


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with manager_at("abstract", tmp_path) as running:
        yield running


def start(manager: Manager, config: Path, *, watchdog_s: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "edge.cli.main", "run", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "NOTIFY_SOCKET": manager.address,
            "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
        },
    )


def configure(folder: Path, bundle: Path) -> Path:
    """A camera and a broker that are both not there."""
    file = folder / "gate.yaml"
    file.write_text(
        f"schema_version: 1\nbundle: {bundle}\nstate: state\nthreads: 1\n"
        f"mqtt: {{url: 'mqtt://127.0.0.1:{free_port()}', flush: 100ms}}\n"
        f"cameras: {{yard: {{source: 'http://127.0.0.1:{free_port()}/x'}}}}\n"
    )
    return file


def test_it_is_ready_and_alive_without_camera_and_broker_and_says_when_it_ends(
    manager: Manager, bundle: Path, tmp_path: Path
) -> None:
    process = start(manager, configure(tmp_path, bundle), watchdog_s=6.0)
    try:
        manager.wait_for("READY=1", "WATCHDOG=1")
        assert any(re.match(r"STATUS=0/1 live, .*yard ", text) for text in manager.heard)
        first = manager.heard.index("READY=1")
        assert "WATCHDOG=1" not in manager.heard[:first]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert manager.listen()[-2:] == ["STOPPING=1", "STATUS=ending"]


def test_a_process_that_hangs_feeds_nothing_and_shows_its_stacks_when_it_is_aborted(
    manager: Manager, bundle: Path, tmp_path: Path
) -> None:
    process = start(manager, configure(tmp_path, bundle), watchdog_s=3.0)
    try:
        manager.wait_for("READY=1", "WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        manager.listen(0.3)
        manager.forget()
        time.sleep(3.2)
        assert manager.listen() == []
        # What systemd does after WatchdogSec.
        process.send_signal(signal.SIGABRT)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in err
    assert "loop.py" in err


def test_why_it_could_not_start_stands_in_its_status(manager: Manager, tmp_path: Path) -> None:
    process = start(manager, configure(tmp_path, tmp_path / "nothing"), watchdog_s=30.0)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 66, err
    assert any(
        text.startswith("STATUS=there is no such bundle folder") for text in manager.listen()
    )
    assert "READY=1" not in manager.heard
