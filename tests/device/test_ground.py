"""The proving ground itself: devices boot, reboot, lose power as devices do, and leave nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support.ground.commands import CommandError, run
from support.ground.cuts import cut_while_writing
from support.ground.network import WORKSTATION, Network
from support.ground.nspawn import NspawnDevice


def test_it_boots_whole_and_an_operator_can_log_in_and_become_root(device: NspawnDevice) -> None:
    device.wait_until("systemctl", "is-system-running", "--wait", timeout_s=120)
    assert device.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert device.ssh("sudo -n id -u").stdout == "0\n"
    assert device.ssh("python3 -V").stdout.startswith("Python 3.11.")
    assert device.read("/proc/1/comm") == "systemd\n"


def test_it_reaches_the_workstation_and_nothing_else(device: NspawnDevice) -> None:
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 22), 3)"
    refused = device.run("python3", "-c", connect, WORKSTATION, check=False)
    assert "ConnectionRefusedError" in refused.stderr  # it answers; no sshd is there
    for address in ("192.0.2.1", "203.0.113.7"):
        nowhere = device.run("python3", "-c", connect, address, check=False)
        assert "Network is unreachable" in nowhere.stderr


def test_it_reboots_and_keeps_its_journal(device: NspawnDevice) -> None:
    before = device.boot_id()
    device.reboot()
    assert device.boot_id() != before
    boots = json.loads(device.run("journalctl", "--list-boots", "-o", "json").stdout)
    assert len(boots) == 2


@pytest.mark.parametrize("how", ["fsync", "rename-only"])
def test_power_cut_keeps_what_was_synced_and_nothing_else(
    device: NspawnDevice, network: Network, how: str
) -> None:
    """The negative control of every test with a power cut: who does not sync must lose."""
    seed = random.SystemRandom().randrange(10**6)
    wait_s = random.Random(seed).uniform(0.8, 2.0)
    print(f"seed {seed}: cut after {wait_s:.2f} s")
    assert cut_while_writing(device, network, how, wait_s=wait_s).is_kept == (how == "fsync")


def test_it_leaves_no_process_mount_loop_device_or_namespace(
    device: NspawnDevice, network: Network, folder: Path
) -> None:
    inside = device._init()
    device.__exit__(None, None, None)
    assert not Path(f"/proc/{inside}").exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert run("losetup", "-j", str(device.disk)).stdout == ""
    assert device._namespace not in run("ip", "netns", "list").stdout
    with pytest.raises(CommandError):
        run("ip", "-n", network.workstation, "link", "show", "to0")
