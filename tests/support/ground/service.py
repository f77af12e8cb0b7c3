"""How the daemon on a device stands, read without going through what is tested."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from support.ground.device import Device
from support.ground.workstation import CAMERA, INSTANCE, UNIT

HOME = "/opt/vigil"
HEALTH = f"/run/vigil/{INSTANCE}/health.json"


def shown(device: Device, *properties: str, unit: str = UNIT) -> dict[str, str]:
    """Properties of a unit."""
    lines = device.run("systemctl", "show", unit, "-p", ",".join(properties)).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def main_pid(device: Device) -> int:
    """The daemon's, as the device numbers it."""
    return int(shown(device, "MainPID")["MainPID"])


def health(device: Device) -> dict[str, Any] | None:
    """What the daemon last wrote of itself; None: nothing, or it is off."""
    done = device.run("cat", HEALTH, check=False)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None


def journal(device: Device) -> dict[str, Any]:
    """The flashing journal."""
    told: dict[str, Any] = json.loads(device.read(f"{HOME}/state.json"))
    return told


def running(device: Device) -> str:
    """Name of the release that `current` leads to."""
    return device.run("readlink", f"{HOME}/current").stdout.strip().removeprefix("releases/")


def wait_until_well(device: Device, *, timeout_s: float = 300.0) -> dict[str, Any]:
    """Until the daemon runs what `current` leads to, its camera is live and frames are scored."""
    deadline = time.monotonic() + timeout_s * device.stretch
    seen = ""
    while time.monotonic() < deadline:
        # One call: a look should cost little.
        seen = device.run("sh", "-c", _LOOK, check=False).stdout
        if (told := _well(seen)) is not None:
            return told
        time.sleep(0.5)
    pytest.fail(f"the daemon is not well after {timeout_s} s: {seen} {device.console_tail()}")


_LOOK = (
    f"readlink {HOME}/current; systemctl show {UNIT} -p ActiveState --value;"
    f" systemctl show {UNIT} -p MainPID --value; cat {HEALTH}"
)


def _well(seen: str) -> dict[str, Any] | None:
    """The daemon's words, if `_LOOK` shows that all is well."""
    try:
        link, state, pid, said = seen.split("\n", 3)
        told: dict[str, Any] = json.loads(said)
    except ValueError:
        return None
    camera = told["cameras"].get(CAMERA, {})
    well = (
        state == "active"
        and str(told["pid"]) == pid
        and told["bundle"][:12] == link.rpartition("-")[2]
        and camera.get("state") == "live"
        and camera.get("scores", 0) > 0
    )
    return told if well else None


def require_whole(device: Device) -> str:
    """Every file of the release that runs is as its manifest says; its name."""
    name = running(device)
    root = f"{HOME}/releases/{name}"
    manifest = json.loads(device.read(f"{root}/manifest.json"))
    sums = "".join(f"{one['sha256']}  {root}/{one['path']}\n" for one in manifest["files"])
    device.run("sha256sum", "--check", "--strict", "--quiet", text_in=sums)
    return name
