"""A booted device, however it is booted: what tests and helpers ask of it.

`NspawnDevice` shares this machine's kernel and boots in two seconds; `QemuDevice` has a kernel, a
clock and a drive of its own and takes its time.
"""

from __future__ import annotations

import abc
import contextlib
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

import pytest
from support.ground import network as networks
from support.ground.commands import CommandError, run
from support.ground.image import USER, BareImage
from support.ground.network import Network

if TYPE_CHECKING:
    from typing_extensions import Self

_LOGIN_S = 10.0


class Device(abc.ABC):
    """One device; `folder/disk.img` is its disk. Use it in a `with`, which takes it away again.

    Attributes:
        boot_s: So long it may take until somebody can log in.
        stretch: How much longer its work takes than that of this machine; for limits of time.
    """

    boot_s: ClassVar[float]
    stretch: ClassVar[float] = 1.0

    def __init__(
        self, folder: Path, *, network: Network, image: BareImage, number: int = 0
    ) -> None:
        self.folder = folder
        self.number = number
        self.address = networks.address(number)
        self.target = f"{USER}@{self.address}"
        self.disk = folder / "disk.img"
        self.console = folder / "console.log"
        self._network = network
        self._image = image
        self.ssh_config = self._write_ssh_config()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._take_away()

    @abc.abstractmethod
    def start(self) -> None:
        """Boot, and wait until an operator can log in."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Clean shutdown: everything is written."""

    @abc.abstractmethod
    def cut_power(self) -> None:
        """At once nothing more reaches the disk; then all processes die."""

    @property
    @abc.abstractmethod
    def is_on(self) -> bool:
        """Whether its processes run."""

    @abc.abstractmethod
    def run(
        self, *command: str, check: bool = True, timeout_s: float = 60.0, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run something as root in the device, by another way than an operator's."""

    @abc.abstractmethod
    def _take_away(self) -> None:
        """Off, whatever state it is in, and nothing of it is left."""

    def reboot(self) -> None:
        """As an operator asks for it."""
        before = self.boot_id()
        self.ssh("sudo systemctl reboot", check=False)
        deadline = time.monotonic() + self.boot_s
        while time.monotonic() < deadline:
            with contextlib.suppress(CommandError):
                if self.boot_id() != before:
                    self.wait_for_login()
                    return
            time.sleep(0.1)
        pytest.fail(f"it did not reboot: {self.console_tail()}")

    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()

    def ssh(
        self,
        command: str,
        *,
        check: bool = True,
        timeout_s: float = 60.0,
        text_in: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """What an operator at the workstation does: a shell command over ssh."""
        with self._network.on_workstation():
            return run("ssh", "-F", str(self.ssh_config), self.target, command,
                       check=check, timeout_s=timeout_s * self.stretch,
                       text_in=text_in)  # fmt: skip

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def write(self, path: str, text: str, *, mode: str = "0644") -> None:
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, text_in=text)

    def journal(self, *arguments: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "short-monotonic", *arguments).stdout

    def wait_for_login(self) -> None:
        deadline = time.monotonic() + self.boot_s
        while time.monotonic() < deadline:
            if not self.is_on:
                break
            with contextlib.suppress(CommandError):
                if self.ssh("true", check=False, timeout_s=_LOGIN_S).returncode == 0:
                    return
            time.sleep(0.1)
        pytest.fail(f"nobody can log in: {self.console_tail()}")

    def wait_until(self, *command: str, timeout_s: float = 30.0) -> str:
        """Until a command in the device succeeds; what it wrote."""
        deadline = time.monotonic() + timeout_s * self.stretch
        while True:
            done = self.run(*command, check=False)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s} s: {command} {done.stdout}{done.stderr}")
            time.sleep(0.2)

    def console_tail(self) -> str:
        return self.console.read_text(errors="replace")[-2000:] if self.console.exists() else ""

    def _write_ssh_config(self) -> Path:
        known = self.folder / "known_hosts"
        known.write_text(f"{self.address} {self._image.host_key}\n")
        config = self.folder / "ssh_config"
        patience_s = round(5 * self.stretch**0.5)
        config.write_text(
            f"Host {self.address}\n  IdentityFile {self._image.identity.private}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n"
            "  StrictHostKeyChecking yes\n  BatchMode yes\n"
            f"  ConnectTimeout {patience_s}\n  LogLevel ERROR\n"
        )
        return config


def tell_of(device: Device) -> None:
    """What pytest shows if the test has failed."""
    print(device.console_tail())
    if device.is_on:
        with contextlib.suppress(CommandError):
            last = device.run("journalctl", "--no-pager", "-n", "60", "-o", "short", check=False)
            print(last.stdout)
