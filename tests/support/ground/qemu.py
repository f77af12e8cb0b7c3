"""A device with a kernel, a clock and a drive of its own: QEMU, without help of the processor.

The drive has a volatile cache, as drives have: nbdkit's cache filter keeps what the device writes,
and lets it reach `disk.img` only when the device asks for a flush. When both are killed, all that
was written and not flushed is lost.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar, Final, Literal

import pytest
from support.ground.commands import CommandError, run
from support.ground.device import Device
from support.ground.kernel_image import KernelImage
from support.ground.network import Network

Drive = Literal["honest", "lying"]

# The lying drive says that it has flushed, and has not.
_CACHE: Final[dict[Drive, str]] = {"honest": "writeback", "lying": "unsafe"}
_MEMORY_MB = 1536
_OFF_S = 240.0
_SOCKET_S = 20.0


@dataclasses.dataclass(frozen=True)
class _Hardware:
    """A machine: its emulator, and a processor that has what the wheels ask for and no more."""

    emulator: str
    options: tuple[str, ...]
    console: str


_HARDWARE: Final = {
    "x86_64": _Hardware("qemu-system-x86_64", ("-M", "q35", "-cpu", "Nehalem"), "ttyS0"),
    "aarch64": _Hardware(
        "qemu-system-aarch64", ("-M", "virt,gic-version=3", "-cpu", "cortex-a72"), "ttyAMA0"
    ),
}


class QemuDevice(Device):
    """An emulated device.

    Attributes:
        drive: Whether its drive keeps its word; may be changed while it is off.
        clock: What its battery clock shows at the next start; None: the right time.
    """

    boot_s: ClassVar[float] = 900.0
    stretch: ClassVar[float] = 8.0

    def __init__(
        self, folder: Path, *, network: Network, image: KernelImage, number: int = 0
    ) -> None:
        super().__init__(folder, network=network, image=image, number=number)
        self.drive: Drive = "honest"
        self.clock: datetime.datetime | None = None
        self._hardware = _HARDWARE[image.machine]
        self._kernel, self._initrd = image.kernel, image.initrd
        self._cable = network.join_by_tap(number)
        self._disk: subprocess.Popen[bytes] | None = None
        self._emulator: subprocess.Popen[bytes] | None = None
        self._login: subprocess.Popen[bytes] | None = None
        self._socket = folder / "drive"

    def start(self) -> None:
        assert self._emulator is None, "it runs"
        self._socket.unlink(missing_ok=True)
        with self.console.open("ab") as console:
            self._disk = _ours(self._drive_command(), console, TMPDIR=str(self.folder))
            self._wait_for_drive()
            with self._network.on_workstation():
                self._emulator = _ours(self._emulator_command(), console)
        self.wait_for_login()
        self._log_in()

    def stop(self) -> None:
        assert self._emulator is not None, "it is off"
        self.run("systemctl", "--no-block", "poweroff")
        try:
            self._emulator.wait(_OFF_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not shut down: {self.console_tail()}")
        self._kill_all()

    def cut_power(self) -> None:
        assert self._disk is not None, "it is off"
        self._disk.kill()
        self._kill_all()

    @property
    def is_on(self) -> bool:
        return self._emulator is not None and self._emulator.poll() is None

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 60.0, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As root, over a login that stays open: a new one costs an emulated machine seconds."""
        if not self.is_on:
            raise CommandError("the device is off")
        with self._network.on_workstation():
            return run(*self._as_root(), shlex.join(command), check=check,
                       timeout_s=timeout_s * self.stretch, text_in=text_in)  # fmt: skip

    def _take_away(self) -> None:
        self._kill_all()
        self._network.leave(self.number)

    def _as_root(self, *options: str) -> list[str]:
        path = f"ControlPath={self.folder / 'login'}"
        return ["ssh", "-F", str(self.ssh_config), "-o", path, *options, f"root@{self.address}"]

    def _log_in(self) -> None:
        """If this login goes, commands make logins of their own."""
        with self._network.on_workstation():
            self._login = _ours(self._as_root("-N", "-M"))

    def _drive_command(self) -> list[str]:
        return ["nbdkit", "--foreground", "--unix", str(self._socket), "--filter=cache",
                "file", str(self.disk), f"cache={_CACHE[self.drive]}"]  # fmt: skip

    def _emulator_command(self) -> list[str]:
        # Emulated timers are late where this machine is busy; that is no reason to panic.
        words = (
            f"root=/dev/vda rw console={self._hardware.console} net.ifnames=0 quiet"
            f" mitigations=off no_timer_check ip={self.address}:::255.255.255.0::eth0:none"
        )
        drive = f"file.driver=nbd,file.server.type=unix,file.server.path={self._socket}"
        time_at = f"{self.clock:%Y-%m-%dT%H:%M:%S}" if self.clock is not None else "utc"
        return [
            *(self._hardware.emulator, *self._hardware.options),
            *("-nodefaults", "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(_MEMORY_MB)),
            *("-kernel", str(self._kernel), "-initrd", str(self._initrd), "-append", words),
            *("-drive", f"{drive},format=raw,if=virtio,cache=writeback"),
            *("-netdev", f"tap,id=n,ifname={self._cable},script=no,downscript=no"),
            *("-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci"),
            *("-rtc", f"base={time_at}", "-display", "none", "-monitor", "none"),
            *("-serial", "stdio"),
        ]

    def _wait_for_drive(self) -> None:
        deadline = time.monotonic() + _SOCKET_S
        while not self._socket.exists():
            if time.monotonic() > deadline:
                pytest.fail(f"no drive: {self.console_tail()}")
            time.sleep(0.02)

    def _kill_all(self) -> None:
        """The drive last: a machine that was shut down has given it all that it had."""
        for process in (self._emulator, self._disk, self._login):
            if process is not None:
                process.kill()
                process.wait(_OFF_S)
        self._emulator = self._disk = self._login = None


def _ours(
    command: Sequence[str], output: IO[bytes] | int = subprocess.DEVNULL, **environment: str
) -> subprocess.Popen[bytes]:
    """A process that goes when this one goes."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, **environment},
        start_new_session=True,
    )
