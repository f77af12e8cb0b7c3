"""`vigil run` as a service: a real process and the service manager's side of its socket."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from support.broker import free_port
from support.bundles import tiny_bundle
from support.camera_servers import mjpeg_server
from support.service_manager import Manager, manager_at

PASSWORD = "h@n/er:2#%41"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(folder / "bundle", workspace=folder).root


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with manager_at("abstract", tmp_path) as running:
        yield running


def start(
    manager: Manager, config: Path, *, watchdog_s: float, **variables: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "edge.cli.main", "run", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            **variables,
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
        _, err = process.communicate(timeout=60)
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
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGABRT, err
    assert "Fatal Python error: Aborted" in err
    assert "loop.py" in err, err


def test_why_it_could_not_start_stands_in_its_status(manager: Manager, tmp_path: Path) -> None:
    process = start(manager, configure(tmp_path, tmp_path / "nothing"), watchdog_s=30.0)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 66, err
    assert any(
        text.startswith("STATUS=there is no such bundle folder") for text in manager.listen()
    )
    assert "READY=1" not in manager.heard


def rewrite(config: Path, cameras: str) -> None:
    head = config.read_text().partition("cameras:")[0]
    config.write_text(f"{head}cameras: {cameras}\n")


def test_a_reload_takes_new_cameras_and_refuses_a_wrong_file(
    manager: Manager, bundle: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "camera_password"
    secret.write_text(f"{PASSWORD}\n")
    config = configure(tmp_path, bundle)
    with mjpeg_server() as server:
        process = start(manager, config, watchdog_s=60.0)
        try:
            manager.wait_for("READY=1")
            manager.forget()
            rewrite(config, "{porch: {sauce: 'http://127.0.0.1/'}}")
            process.send_signal(signal.SIGHUP)
            manager.wait_for_text("STATUS=new configuration refused, the one before goes on: 2 pro")
            manager.wait_for_text("RELOADING=1\nMONOTONIC_USEC=")
            manager.wait_for("READY=1")  # it works on, as before
            manager.forget()
            address = f"http://127.0.0.1:{server.port}/locked"
            login = f"username: viewer, password_file: {secret}"
            rewrite(config, f"{{porch: {{source: '{address}', {login}}}}}")
            process.send_signal(signal.SIGHUP)
            manager.wait_for_text("RELOADING=1\nMONOTONIC_USEC=")
            manager.wait_for("READY=1")
            manager.wait_for_text("STATUS=1/1 live")
            said = next(text for text in manager.heard if text.startswith("STATUS=1/1 live"))
            assert "refused" not in said
            children = psutil.Process(process.pid).children(recursive=True)
            seen = [" ".join(child.cmdline()) + str(child.environ()) for child in children]
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, err
    assert len(children) == 1
    for text in (*seen, out, err, *manager.heard):
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
    assert "config_refused" in err
    assert "did you mean `source`" in err
    stored = [file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file()]
    assert PASSWORD.encode() not in b"".join(stored)


def test_a_password_that_is_wrong_shows_nowhere_either(
    manager: Manager, bundle: Path, tmp_path: Path
) -> None:
    config = configure(tmp_path, bundle)
    with mjpeg_server() as server:
        rewrite(config, f"{{porch: {{source: 'http://127.0.0.1:{server.port}/locked'}}}}")
        variables = {
            "VIGIL_CAMERA_PORCH_USERNAME": "viewer",
            "VIGIL_CAMERA_PORCH_PASSWORD": "wrong-h@n/er",
        }
        process = start(manager, config, watchdog_s=60.0, **variables)
        try:
            manager.wait_for_text("porch quarantined")
            (child, *_) = [*psutil.Process(process.pid).children(), None]
            environment = {} if child is None else child.environ()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert "refuses the login (401)" in err
    assert "wrong-h" not in out + err + str(environment)
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    (fault,) = [line for line in lines if line["event"] == "camera_fault"]
    # Where `journalctl -p warning` finds it, with its reason and what mends it.
    assert (fault["level"], fault["cause"]) == ("warning", "refused")
    assert "check user and password" in fault["why"]
