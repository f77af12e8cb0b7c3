"""A device: systemd as PID 1 in systemd-nspawn, its root an ext4 image, its network its own.

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
from types import TracebackType

import pytest
from support.ground import network as networks
from support.ground.commands import CommandError, run
from support.ground.image import USER, BareImage
from support.ground.network import Network
from support.ground.power_cut import MOUNT_OPTIONS, stop_file_system

BOOT_S = 120.0
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


class Device:
    """One device; `folder/disk.img` is its disk. Use it in a `with`, which takes it away again."""

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
        self._supply: subprocess.Popen[bytes] | None = None
        self._namespace = network.join(number)
        (folder / "root").mkdir(exist_ok=True)
        self.ssh_config = self._write_ssh_config()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill_all()
        self._network.leave(self.number)
        assert self.loop_devices() == []

    def start(self) -> None:
        """Boot, and wait until an operator can log in."""
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
        """Clean shutdown: everything is written."""
        os.kill(self._nspawn(), signal.SIGTERM)
        self._wait_off()

    def cut_power(self) -> None:
        """At once nothing more reaches the disk; then all processes die."""
        stop_file_system(Path(f"/proc/{self._keeper()}/root{self.folder}/root"))
        self._kill_all()

    def kill(self) -> None:
        """All processes die at once, PID 1 too; what they had written stays written."""
        os.kill(self._init(), signal.SIGKILL)
        self._wait_off()

    def reboot(self) -> None:
        """As an operator asks for it."""
        before = self.boot_id()
        self.ssh("sudo systemctl reboot", check=False)
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(CommandError):
                if self.boot_id() != before:
                    self.wait_for_login()
                    return
            time.sleep(0.1)
        pytest.fail(f"it did not reboot: {self.console_tail()}")

    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()

    @property
    def is_on(self) -> bool:
        return self._supply is not None and self._supply.poll() is None

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
                       check=check, timeout_s=timeout_s, text_in=text_in)  # fmt: skip

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 60.0, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run something as root in the device without going through its network or its login."""
        return run("nsenter", "--target", str(self._init()), "--all", "--", *command,
                   check=check, timeout_s=timeout_s, text_in=text_in)  # fmt: skip

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def write(self, path: str, text: str, *, mode: str = "0644") -> None:
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, text_in=text)

    def journal(self, *arguments: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "short-monotonic", *arguments).stdout

    def copy_in(self, source: Path, target: str) -> None:
        """Files of the workstation, by tar through the device's own namespace."""
        packed = subprocess.Popen(
            ["tar", "-C", str(source.parent), "-cf", "-", source.name], stdout=subprocess.PIPE
        )
        done = subprocess.run(
            ["nsenter", "--target", str(self._init()), "--all", "--", "sh", "-c",
             f"mkdir -p {target} && tar -C {target} --no-same-owner -xf -"],
            stdin=packed.stdout, timeout=120, check=False,
        )  # fmt: skip
        assert packed.wait(10) == 0
        assert done.returncode == 0

    def wait_for_login(self) -> None:
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            if not self.is_on:
                break
            with contextlib.suppress(CommandError):
                if self.ssh("true", check=False, timeout_s=10).returncode == 0:
                    return
            time.sleep(0.1)
        pytest.fail(f"nobody can log in: {self.console_tail()}")

    def wait_until(self, *command: str, timeout_s: float = 30.0) -> str:
        """Until a command in the device succeeds; what it wrote."""
        deadline = time.monotonic() + timeout_s
        while True:
            done = self.run(*command, check=False)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s} s: {command} {done.stdout}{done.stderr}")
            time.sleep(0.2)

    def console_tail(self) -> str:
        return self.console.read_text(errors="replace")[-2000:] if self.console.exists() else ""

    def loop_devices(self) -> list[str]:
        """Those that hold its disk."""
        return run(
            "losetup", "--noheadings", "--output", "NAME", "-j", str(self.disk)
        ).stdout.split()

    def _write_ssh_config(self) -> Path:
        known = self.folder / "known_hosts"
        known.write_text(f"{self.address} {self._image.host_key}\n")
        config = self.folder / "ssh_config"
        config.write_text(
            f"Host {self.address}\n  IdentityFile {self._image.identity.private}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n"
            "  StrictHostKeyChecking yes\n  BatchMode yes\n  ConnectTimeout 5\n  LogLevel ERROR\n"
        )
        return config

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
