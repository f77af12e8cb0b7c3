"""`vigil flash` onto a booted device: new or old, never neither, and the reason is told here."""

from __future__ import annotations

import json
import time

import pytest
from support.ground.device import Device
from support.ground.service import (
    HOME,
    health,
    journal,
    require_whole,
    running,
    shown,
    wait_until_well,
)
from support.ground.workstation import INSTANCE, UNIT, Workstation

SPARE_KIB = 512


def test_a_new_bundle_runs_and_the_old_one_can_come_back(gate: Device, desk: Workstation) -> None:
    old = running(gate)
    done = desk.flash(desk.bundle("second"), gate)
    new = running(gate)
    assert "committed" in done.stderr
    assert new != old
    assert wait_until_well(gate)["bundle"].startswith(new.partition("-")[2])
    assert require_whole(gate) == new
    assert journal(gate)["previous"] == old

    again = desk.flash(desk.folder / "second", gate)
    assert "already" in again.stderr

    desk.rollback(gate)
    assert running(gate) == old
    wait_until_well(gate)


def test_a_bundle_that_fails_its_golden_inputs_never_runs(gate: Device, desk: Workstation) -> None:
    old, before = running(gate), health(gate)
    done = desk.flash(desk.bundle("spoiled", spoil=True), gate, check=False)
    assert done.returncode == 65
    assert "golden" in done.stderr or "parity" in done.stderr
    assert running(gate) == old
    now = health(gate)
    assert before is not None
    assert now is not None
    assert now["pid"] == before["pid"]  # it was not even restarted


def test_a_daemon_that_crashes_with_the_new_bundle_brings_the_old_one_back(
    gate: Device, desk: Workstation
) -> None:
    old = running(gate)
    bundle = desk.bundle("crashing")
    release = json.loads((bundle / "manifest.json").read_text())["release"]
    gate.write(
        f"/etc/systemd/system/{UNIT}.d/crash.conf",
        "[Service]\nExecStartPre=/bin/sh -c 'case $(readlink /opt/vigil/current) in"
        f" */{release}-*) kill -SEGV $$$$;; esac'\n",
    )
    gate.run("systemctl", "daemon-reload")
    done = desk.flash(bundle, gate, check=False)
    assert done.returncode == 65
    assert "rolled back" in done.stderr
    assert running(gate) == old
    wait_until_well(gate)
    assert "rolled_back" in desk.status(gate)["journal"]["last"]["outcome"]


def test_an_unsigned_bundle_and_a_stranger_s_are_refused(gate: Device, desk: Workstation) -> None:
    old = running(gate)
    unsigned = desk.bundle("unsigned")
    (unsigned / "manifest.sig").unlink()
    assert desk.flash(unsigned, gate, check=False).returncode == 77
    stranger = desk.bundle("stranger")
    desk.vigil("keys", "new", str(desk.folder / "other"))
    (stranger / "manifest.sig").unlink()
    desk.vigil("bundle", "sign", str(stranger), "--key", str(desk.folder / "other.key"))
    done = desk.flash(stranger, gate, check=False)
    assert done.returncode == 77, done.stderr
    assert desk.flash(desk.folder / "first", gate, check=False).returncode == 0  # runs already
    assert running(gate) == old


def test_a_full_disk_is_said_and_the_old_bundle_goes_on(gate: Device, desk: Workstation) -> None:
    old = running(gate)
    fill(gate)
    done = desk.flash(desk.bundle("no-room"), gate, check=False)
    assert done.returncode != 0
    assert "make room" in done.stderr
    assert running(gate) == old
    assert require_whole(gate) == old
    gate.run("rm", "/fill")
    desk.flash(desk.folder / "no-room", gate)
    assert running(gate) != old
    wait_until_well(gate)


def fill(gate: Device) -> None:
    """Take all but a little of the disk; blocks are only claimed, so it is quick."""
    free_kib = int(gate.run("df", "--output=avail", "-k", "/").stdout.split()[-1])
    gate.run("fallocate", "-l", f"{free_kib - SPARE_KIB}KiB", "/fill")


@pytest.mark.device_long
def test_a_network_that_goes_away_in_the_copy_is_waited_for(
    gate: Device, desk: Workstation
) -> None:
    bundle = desk.bundle("over-a-bad-line")
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    desk.network.slow_down(gate.number, mbit_s=max(0.1, size * 8 / 1e6 / 20))  # 20 s for it
    try:
        flash = desk.start_vigil(*desk.flash_arguments(bundle, gate), "--json")
        wait_for_arrival(gate)
        desk.network.unplug(gate.number)
        time.sleep(40)  # longer than ssh is patient
        desk.network.plug(gate.number)
        out, _ = flash.communicate(timeout=600)
    finally:
        desk.network.plug(gate.number)
        desk.network.slow_down(gate.number, mbit_s=0)
    assert flash.returncode == 0, out
    assert "trying again" in out
    wait_until_well(gate)
    assert require_whole(gate) == running(gate)


def wait_for_arrival(gate: Device, *, timeout_s: float = 60.0) -> None:
    """Until some of a bundle lies on the device."""
    gate.wait_until(
        "sh", "-c", f"find {HOME}/incoming -type f -size +16k | grep -q .", timeout_s=timeout_s
    )


@pytest.mark.device_long
def test_a_device_without_a_key_of_ours_takes_nothing(gate: Device, desk: Workstation) -> None:
    gate.run("sh", "-c", "rm /etc/vigil/trusted-keys.d/*")
    done = desk.flash(desk.bundle("nobody"), gate, check=False)
    assert done.returncode == 77
    assert shown(gate, "ActiveState")["ActiveState"] == "active"


@pytest.mark.device_long
def test_status_tells_what_runs(gate: Device, desk: Workstation) -> None:
    told = desk.status(gate)
    assert told["running"] == running(gate)
    assert told["problems"] == []
    one = told["instances"][INSTANCE]
    assert (one["active"], one["health"]["connected"]) == ("active", True)
    assert one["health"]["cameras"]["yard"]["state"] == "live"
