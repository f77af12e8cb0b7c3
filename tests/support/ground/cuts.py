"""Power cuts in the middle of work, and what must be true after each."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.broker import Subscriber, wait_until
from support.ground.device import Device
from support.ground.network import Network
from support.ground.service import health, journal, require_whole, running, wait_until_well
from support.ground.workstation import Workstation

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
_LINES = 400


@dataclass(frozen=True)
class Written:
    """What was said to be written before a power cut, and what was there after it."""

    acknowledged: int
    found: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """The file is one version of it, whole, and none older than the last acknowledged one."""
        return (
            len(self.found) == _LINES
            and len(set(self.found)) == 1
            and int(self.found[0]) >= self.acknowledged
        )


def cut_while_writing(device: Device, network: Network, how: str, *, wait_s: float) -> Written:
    """Let `WRITER` write (``fsync`` or ``rename-only``), cut power after a while, boot, look."""
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
    device.start()
    # Even the name may be gone, of a file that was never synced.
    found = device.run("cat", "/home/admin/state", check=False).stdout.split()
    print(f"acknowledged {told[-1].strip()}, found {len(found)} lines of {found[:1]}")
    return Written(int(told[-1]), tuple(found))


def cut_in_flash(
    gate: Device, desk: Workstation, bundle: Path, *, wait_s: float
) -> tuple[float, str]:
    """Flash, cut power after a while, boot; which release runs, ``old`` or ``new``, whole."""
    old = running(gate)
    flash = desk.start_vigil(*desk.flash_arguments(bundle, gate), "--patient-seconds", "1")
    time.sleep(wait_s)
    gate.cut_power()
    flash.kill()
    flash.communicate()
    gate.start()
    wait_until_well(gate)
    wait_until(
        lambda: journal(gate)["trial"] is None,
        timeout_s=180 * gate.stretch,
        what="an end of the trial",
    )
    wait_until_well(gate)
    now = require_whole(gate)
    assert now == journal(gate)["current"]
    return round(wait_s, 1), "old" if now == old else "new"


def require_no_loss(heard: Subscriber) -> None:
    """Numbers without a jump, and one number never stands for two messages.

    A message that was acknowledged to the daemon (committed to the outbox) and then lost would
    leave a jump, or its number would be given to another one.
    """
    by_key: dict[tuple[str, int], dict[str, Any]] = {}
    for event in heard.events():
        known = by_key.setdefault((event["stream_id"], event["seq"]), event)
        assert (known["id"], known["phase"], known["rev"]) == (
            event["id"],
            event["phase"],
            event["rev"],
        )
    assert len({stream for stream, _ in by_key}) == 1
    numbers = sorted(number for _, number in by_key)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def waiting(gate: Device) -> int:
    """Events in the outbox."""
    told = health(gate)
    return 0 if told is None else int(told["outbox"])
