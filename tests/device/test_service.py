"""The real unit on a booted device: ready, watched, hardened, restarted, ended; events arrive."""

from __future__ import annotations

import re

import pytest
from support.broker import wait_until
from support.ground.device import Device
from support.ground.service import health, main_pid, shown, wait_until_well
from support.ground.workstation import INSTANCE, UNIT, Workstation

CPU_LIMIT = 1.5
# The daemon is killed 30 s after its last sign of life and started 10 s later.
HANG_S = 150.0


def test_events_of_a_camera_arrive_at_the_broker(gate: Device, desk: Workstation) -> None:
    with desk.listener() as heard:
        wait_until(
            lambda: {"start", "end"} <= {event["phase"] for event in heard.events()},
            timeout_s=120,
            what="an event that starts and ends",
        )
        events = heard.events()
        assert heard.last("vigil/gate-01/status") == "online"
    assert {event["device"] for event in events} == {"gate-01"}
    numbers = [event["seq"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_the_unit_is_locked_down_and_the_lock_holds(gate: Device) -> None:
    said = gate.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None
    print(f"exposure {found[1]}")
    assert float(found[1]) <= CPU_LIMIT
    pid = main_pid(gate)
    status = dict(
        line.split(":\t", 1)
        for line in gate.read(f"/proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    assert int(status["Uid"].split()[0]) != 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    # As root, but among the daemon's mounts: even then it holds.
    inside = ("nsenter", "--target", str(pid), "--mount", "--")
    for path in ("/etc/vigil/x", "/opt/vigil/x", "/usr/x", "/var/x"):
        assert "Read-only" in gate.run(*inside, "touch", path, check=False).stderr
    gate.run(*inside, "touch", f"/var/lib/vigil/{INSTANCE}/x")
    assert gate.run(*inside, "ls", "/home").stdout == ""
    assert "kmsg" not in gate.run(*inside, "ls", "/dev").stdout


def test_sigterm_ends_it_cleanly_and_says_so_to_the_broker(gate: Device, desk: Workstation) -> None:
    with desk.listener() as heard:
        wait_until(lambda: heard.last("vigil/gate-01/status") == "online")
        gate.run("systemctl", "stop", UNIT)
        wait_until(lambda: heard.last("vigil/gate-01/status") == "offline")
    assert shown(gate, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert health(gate) is None


def test_a_daemon_that_hangs_is_aborted_and_started_anew(gate: Device) -> None:
    before = main_pid(gate)
    gate.run("kill", "-STOP", str(before))
    told = wait_until_restarted(gate, before)
    assert told["pid"] != before
    seen = gate.journal("-u", UNIT)
    assert "Watchdog timeout (limit 30s)" in seen
    assert "Failed with result 'watchdog'" in seen


def wait_until_restarted(gate: Device, before: int) -> dict[str, object]:
    wait_until(lambda: main_pid(gate) not in {0, before}, timeout_s=HANG_S, what="another process")
    return wait_until_well(gate)


@pytest.mark.device_long
def test_a_wrong_configuration_is_said_and_not_tried_again(gate: Device) -> None:
    gate.run("sed", "-i", "s/^threads:/treads:/", f"/etc/vigil/{INSTANCE}.yaml")
    gate.run("systemctl", "restart", UNIT, check=False)
    gate.wait_until("systemctl", "is-failed", UNIT)
    assert shown(gate, "ExecMainStatus", "NRestarts") == {"ExecMainStatus": "78", "NRestarts": "0"}
    assert "did you mean `threads`" in gate.journal("-u", UNIT)
    gate.wait_until(
        "sh", "-c", f"journalctl -u vigil-failed@{INSTANCE} | grep -q treads", timeout_s=60
    )


@pytest.mark.device_long
def test_it_runs_again_after_a_reboot(gate: Device) -> None:
    gate.reboot()
    wait_until_well(gate)
