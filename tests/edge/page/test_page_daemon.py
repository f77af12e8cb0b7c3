"""The page of a daemon as a person starts it: `vigil run` with a real bundle and a real picture."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.broker import free_port, wait_until
from support.bundles import tiny_bundle
from support.page import get
from support.recordings import write_recording


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    tiny_bundle(folder / "bundle", workspace=folder)
    write_recording(folder / "clip")
    return folder


def start(material: Path, state: Path, port: int) -> "subprocess.Popen[str]":
    file = state / "gate.yaml"
    file.write_text(
        f"schema_version: 1\ndevice: gate-01\nbundle: {material / 'bundle'}\nstate: state\n"
        f"threads: 1\nmqtt: {{url: 'mqtt://127.0.0.1:{free_port()}', flush: 0s}}\n"
        f"page: {{port: {port}}}\n"
        f"cameras:\n  yard: {{source: {material / 'clip'}, realtime: true}}\n"
        # A camera that never answers keeps the daemon at work after the recording's end.
        f"  gone: {{source: 'http://127.0.0.1:{free_port()}/x.mjpg'}}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-m", "edge.cli.main", "run", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz").status == 200
    except OSError:
        return False


def test_a_daemon_shows_what_it_sees_and_takes_its_page_with_it(
    material: Path, tmp_path: Path
) -> None:
    port = free_port()
    daemon = start(material, tmp_path, port)
    try:
        wait_until(lambda: answers(port), timeout_s=40)
        wait_until(lambda: get(port, "/api/v1/state").json()["events"], timeout_s=40)
        state = get(port, "/api/v1/state").json()
        assert [camera["name"] for camera in state["cameras"]] == ["yard", "gone"]
        assert state["device"]["threshold"] > 0
        event = state["events"][0]
        assert get(port, event["snapshot"]["path"]).status == 200
        wait_until(lambda: get(port, "/api/v1/state").json()["scores"].get("yard"))
        wait_until(lambda: _ended(port), timeout_s=40)
        assert get(port, "/readyz").status == 200
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, said = daemon.communicate(timeout=30)
    assert daemon.returncode == 0, said
    assert "Traceback" not in said
    assert not answers(port)
    kept = json.loads((tmp_path / "state" / "page_events.json").read_text())
    assert kept[0]["id"] == event["id"]


def _ended(port: int) -> bool:
    return bool(get(port, "/api/v1/state").json()["events"][0]["phase"] == "end")


def test_a_killed_daemon_leaves_no_page_behind(material: Path, tmp_path: Path) -> None:
    port = free_port()
    daemon = start(material, tmp_path, port)
    try:
        wait_until(lambda: answers(port), timeout_s=40)
    finally:
        daemon.kill()
        daemon.communicate(timeout=30)
    wait_until(lambda: not answers(port))
