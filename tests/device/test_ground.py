"""The proving ground itself: devices boot, reboot, lose power as devices do, and leave nothing."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

import pytest
from support.ground.commands import CommandError, run
from support.ground.device import Device
from support.ground.network import WORKSTATION, Network

# Replaces a file as fast as it can, and says so each time; with or without fsync.
WRITER = """
import os, sys
strict = sys.argv[1] == "fsync"
folder = os.open("/home/admin", os.O_RDONLY)
for number in range(1, 10**6):
    with open("/home/admin/state.new", "w") as file:
        file.write(f"{number}\\n" * 400)
        if strict:
            file.flush()
            os.fsync(file.fileno())
    os.rename("/home/admin/state.new", "/home/admin/state")
    if strict:
        os.fsync(folder)
    print(number, flush=True)
"""


def test_it_boots_whole_and_an_operator_can_log_in_and_become_root(device: Device) -> None:
    device.wait_until("systemctl", "is-system-running", "--wait", timeout_s=120)
    assert device.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert device.ssh("sudo -n id -u").stdout == "0\n"
    assert device.ssh("python3 -V").stdout.startswith("Python 3.11.")
    assert device.read("/proc/1/comm") == "systemd\n"


def test_it_reaches_the_workstation_and_nothing_else(device: Device) -> None:
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 22), 3)"
    refused = device.run("python3", "-c", connect, WORKSTATION, check=False)
    assert "ConnectionRefusedError" in refused.stderr  # it answers; no sshd is there
    for address in ("192.0.2.1", "203.0.113.7"):
        nowhere = device.run("python3", "-c", connect, address, check=False)
        assert "Network is unreachable" in nowhere.stderr


def test_it_reboots_and_keeps_its_journal(device: Device) -> None:
    before = device.boot_id()
    device.reboot()
    assert device.boot_id() != before
    boots = json.loads(device.run("journalctl", "--list-boots", "-o", "json").stdout)
    assert len(boots) == 2


@pytest.mark.parametrize("how", ["fsync", "rename-only"])
def test_power_cut_keeps_what_was_synced_and_nothing_else(
    device: Device, network: Network, how: str
) -> None:
    """The negative control of every test with a power cut: who does not sync must lose."""
    seed = random.SystemRandom().randrange(10**6)
    wait_s = random.Random(seed).uniform(0.8, 2.0)
    print(f"seed {seed}: cut after {wait_s:.2f} s")
    device.write("/home/admin/writer.py", WRITER)
    device.run("chown", "-R", "admin:admin", "/home/admin")
    with network.on_workstation():
        writer = subprocess.Popen(
            ["ssh", "-F", str(device.ssh_config), device.target, f"python3 writer.py {how}"],
            stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == "1\n"
    time.sleep(wait_s)
    device.cut_power()
    # The last line may be torn; what was said whole was acknowledged.
    writer.kill()
    told = [line for line in writer.communicate()[0].splitlines(keepends=True) if "\n" in line]
    acknowledged = int(told[-1])
    device.start()
    # Even the name may be gone, of a file that was never synced.
    found = device.run("cat", "/home/admin/state", check=how == "fsync").stdout.split()
    print(f"acknowledged {acknowledged}, found {len(found)} lines of {found[:1]}")
    if how == "fsync":
        assert len(found) == 400
        assert len(set(found)) == 1
        assert int(found[0]) >= acknowledged
    else:
        assert len(found) < 400 or int(found[0]) < acknowledged


def test_it_leaves_no_process_mount_loop_device_or_namespace(
    device: Device, network: Network, folder: Path
) -> None:
    inside = device._init()
    device.__exit__(None, None, None)
    assert not Path(f"/proc/{inside}").exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert run("losetup", "-j", str(device.disk)).stdout == ""
    assert device._namespace not in run("ip", "netns", "list").stdout
    with pytest.raises(CommandError):
        run("ip", "-n", network.workstation, "link", "show", "to0")
