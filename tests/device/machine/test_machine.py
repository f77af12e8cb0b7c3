"""From a bare machine that boots a kernel of its own to the first event; and no internet."""

from __future__ import annotations

import platform

import pytest
from support.broker import wait_until
from support.ground.network import WORKSTATION
from support.ground.provisioning import provision
from support.ground.qemu import QemuDevice
from support.ground.service import require_whole, shown
from support.ground.workstation import UNIT, Workstation

pytestmark = pytest.mark.device_vm


def test_a_machine_with_its_own_kernel_is_provisioned_flashed_and_heard(
    machine: QemuDevice, desk: Workstation
) -> None:
    """That it was provisioned and flashed over ssh is how `machine` came to be."""
    kernel = machine.run("uname", "-r").stdout.strip()
    assert "-cloud-" in kernel
    assert kernel != platform.release()
    assert machine.run("systemd-detect-virt").stdout == "qemu\n"
    machine.wait_until("systemctl", "is-system-running", "--wait")
    assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert machine.run("ip", "route", "show", "default").stdout == ""
    assert WORKSTATION in machine.run("ip", "route", "get", WORKSTATION).stdout
    # The kernel's own limits: a container of this machine's may have to do without them.
    limits = shown(machine, "MemoryMax", "TasksMax", "ControlGroup")
    group = f"/sys/fs/cgroup{limits['ControlGroup']}"
    assert machine.read(f"{group}/memory.max").strip() == limits["MemoryMax"] != "max"
    assert machine.read(f"{group}/pids.max").strip() == limits["TasksMax"] != "max"

    with desk.listener() as heard:
        wait_until(
            lambda: {"start", "end"} <= {event["phase"] for event in heard.events()},
            timeout_s=120 * machine.stretch,
            what="an event that starts and ends",
        )
        events = heard.events()
        assert heard.last("vigil/gate-01/status") == "online"
    assert {event["device"] for event in events} == {"gate-01"}
    assert require_whole(machine)
    assert shown(machine, "NRestarts", unit=UNIT) == {"NRestarts": "0"}

    assert "nothing changed" in provision(desk, machine).stderr
