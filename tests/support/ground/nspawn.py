"""A device on this machine's kernel: systemd as PID 1 in systemd-nspawn on an ext4 image.

It lives in a mount and a PID namespace of its own. So all its processes, its mount and its loop
device go when the first process of that namespace goes, whatever state they are in; and that
process goes when the test's process does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import pytest
from support.ground.commands import CommandError, run
from support.ground.device import Device
from support.ground.image import BareImage
from support.ground.network import Network
from support.ground.power_cut import MOUNT_OPTIONS, stop_file_system

_OFF_S = 30.0

# nspawn leaves with 133 when the guest asks for a reboot.
_SUPPLY = f"""
set -e
mount -o {MOUNT_OPTIONS} "$1/disk.img" "$1/root"
while :; do
  code=0
  systemd-nspawn --boot -q -D "$1/root" -M "$2" --register=no --keep-unit \
    --network-namespace-path="/run/netns/$2" --console=pipe </dev/null || code=$?
  [ "$code" = 133 ] || exit "$code"
done
"""


class NspawnDevice(Device):
    """A device in a container; its network is a namespace."""

    boot_s: ClassVar[float] = 120.0

    def __init__(
        self, folder: Path, *, network: Network, image: BareImage, number: int = 0
    ) -> None:
        super().__init__(folder, network=network, image=image, number=number)
        self._supply: subprocess.Popen[bytes] | None = None
        self._namespace = network.join(number)
        (folder / "root").mkdir(exist_ok=True)

    def start(self) -> None:
        assert self._supply is None, "it runs"
        with self.console.open("ab") as console:
            self._supply = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork",
                 "--kill-child", "--mount-proc", "bash", "-c", _SUPPLY, "supply",
                 str(self.folder), self._namespace],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        self.wait_for_login()

    def stop(self) -> None:
        os.kill(self._nspawn(), signal.SIGTERM)
        self._wait_off()

    def cut_power(self) -> None:
        stop_file_system(Path(f"/proc/{self._keeper()}/root{self.folder}/root"))
        self._kill_all()

    def kill(self) -> None:
        """All processes die at once, PID 1 too; what they had written stays written."""
        os.kill(self._init(), signal.SIGKILL)
        self._wait_off()

    @property
    def is_on(self) -> bool:
        return self._supply is not None and self._supply.poll() is None

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 60.0, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As root, without going through its network or its login."""
        return run("nsenter", "--target", str(self._init()), "--all", "--", *command,
                   check=check, timeout_s=timeout_s, text_in=text_in)  # fmt: skip

    def loop_devices(self) -> list[str]:
        """Those that hold its disk."""
        return run(
            "losetup", "--noheadings", "--output", "NAME", "-j", str(self.disk)
        ).stdout.split()

    def _take_away(self) -> None:
        self._kill_all()
        self._network.leave(self.number)
        assert self.loop_devices() == []

    def _keeper(self) -> int:
        """First process of the device's namespaces: it holds the mount."""
        assert self._supply is not None, "it is off"
        return _only_child(self._supply.pid)

    def _nspawn(self) -> int:
        return _only_child(self._keeper())

    def _init(self) -> int:
        """The device's PID 1, as this machine numbers it."""
        return _only_child(self._nspawn())

    def _kill_all(self) -> None:
        if self._supply is None:
            return
        with contextlib.suppress(CommandError, ProcessLookupError):
            os.kill(self._keeper(), signal.SIGKILL)
        self._supply.kill()
        self._wait_off()

    def _wait_off(self) -> None:
        assert self._supply is not None
        self._supply.wait(_OFF_S)
        self._supply = None
        deadline = time.monotonic() + _OFF_S
        while self.loop_devices():
            if time.monotonic() > deadline:
                pytest.fail(f"the disk is still held: {self.loop_devices()}")
            time.sleep(0.05)


def _only_child(parent: int) -> int:
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        found = []
    if not found:
        raise CommandError(f"process {parent} has no child: the device is off, or about to be")
    return int(found[0])
