"""A network of its own for a workstation and devices; nothing of it touches the machine's own.

Each has a network namespace; a bridge in the workstation's joins them. 198.51.100.0/24 is reserved
for documentation, so nobody has an address in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from support.ground.commands import run

WORKSTATION = "198.51.100.1"
_CLONE_NEWNET = 0x40000000
_PREFIX = "vigil-test-"
_RUN_NETNS = Path("/run/netns")


class Network:
    """A workstation's namespace and a bridge; `join` adds devices. Use it in a `with`."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._taps: set[int] = set()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.workstation = f"{_PREFIX}{os.getpid()}-w"

    def __enter__(self) -> Network:
        _sweep()
        self._add(self.workstation)
        ws = self.workstation
        run("ip", "-n", ws, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        run("ip", "-n", ws, "addr", "add", f"{WORKSTATION}/24", "dev", "br0")
        run("ip", "-n", ws, "link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            run("ip", "netns", "del", name, check=False)

    def join(self, number: int) -> str:
        """A device's namespace with the address of `address(number)`; its name."""
        name = f"{_PREFIX}{os.getpid()}-{number}"
        ws = self.workstation
        self._add(name)
        run("ip", "-n", ws, "link", "add", f"to{number}", "type", "veth",
            "peer", "name", "host0", "netns", name)  # fmt: skip
        run("ip", "-n", ws, "link", "set", f"to{number}", "master", "br0", "up")
        run("ip", "-n", name, "addr", "add", f"{address(number)}/24", "dev", "host0")
        run("ip", "-n", name, "link", "set", "host0", "up")
        return name

    def join_by_tap(self, number: int) -> str:
        """A cable for an emulated machine; name of the interface that the emulator takes hold of.

        The emulator must be started on the workstation, where the interface is.
        """
        tap = f"to{number}"
        run("ip", "-n", self.workstation, "tuntap", "add", "dev", tap, "mode", "tap")
        run("ip", "-n", self.workstation, "link", "set", tap, "master", "br0", "up")
        self._taps.add(number)
        return tap

    def leave(self, number: int) -> None:
        """Remove a device's namespace or interface, and its cable with it."""
        if number in self._taps:
            self._taps.remove(number)
            run("ip", "-n", self.workstation, "link", "del", f"to{number}")
        name = f"{_PREFIX}{os.getpid()}-{number}"
        if name in self._names:
            self._names.remove(name)
            run("ip", "netns", "del", name)

    def unplug(self, number: int) -> None:
        """Packets to and from a device vanish; nobody is told, as behind a switch without power."""
        run("ip", "-n", self.workstation, "link", "set", f"to{number}", "nomaster")

    def plug(self, number: int) -> None:
        """Undo `unplug`."""
        run("ip", "-n", self.workstation, "link", "set", f"to{number}", "master", "br0")

    def slow_down(self, number: int, *, mbit_s: float) -> None:
        """Limit what the workstation sends to a device; 0 takes the limit away."""
        ws, dev = self.workstation, f"to{number}"
        run("tc", "-n", ws, "qdisc", "del", "dev", dev, "root", check=False)
        if mbit_s:
            run("tc", "-n", ws, "qdisc", "add", "dev", dev, "root", "tbf",
                "rate", f"{mbit_s}mbit", "burst", "64kb", "latency", "100ms")  # fmt: skip

    @contextlib.contextmanager
    def on_workstation(self) -> Iterator[None]:
        """This thread, and the threads and processes that it starts, are on the workstation."""
        before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        try:
            there = os.open(_RUN_NETNS / self.workstation, os.O_RDONLY)
            try:
                self._enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                self._enter(before)
        finally:
            os.close(before)

    def _enter(self, descriptor: int) -> None:
        if self._libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def _add(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._names.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")


def address(number: int) -> str:
    """Of device `number`, from 0."""
    return f"198.51.100.{11 + number}"


def left_behind() -> list[str]:
    """Namespaces of this process that still exist."""
    mine = f"{_PREFIX}{os.getpid()}-"
    return sorted(p.name for p in _RUN_NETNS.glob(f"{mine}*")) if _RUN_NETNS.is_dir() else []


def _sweep() -> None:
    """Remove what a run left behind that was killed outright."""
    for path in _RUN_NETNS.glob(f"{_PREFIX}*") if _RUN_NETNS.is_dir() else ():
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            run("ip", "netns", "del", path.name, check=False)
