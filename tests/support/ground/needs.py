"""Can devices be booted on this machine? Asked once, answered with the reason."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys

import psutil

# Program, and the Debian package that brings it.
_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "losetup": "mount",
    "mosquitto": "mosquitto",
}
# What emulated machines need beyond that.
_EMULATION = {
    "x86_64": {"qemu-system-x86_64": "qemu-system-x86", "nbdkit": "nbdkit"},
    "aarch64": {"qemu-system-aarch64": "qemu-system-arm", "nbdkit": "nbdkit"},
}
# To make the disk of another kind of machine, its programs must run here.
_FOREIGN = {
    "qemu-aarch64-static": "qemu-user-static",
    "update-binfmts": "binfmt-support",
    "arch-test": "arch-test",
}
_MEMORY_MB = 2500
SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"


@functools.cache
def why_no_device() -> str | None:
    """What keeps this machine from booting a device in systemd-nspawn; None if nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "booting devices needs root on Linux"
    if packages := _lacking(_PROGRAMS):
        return f"not installed: apt-get install {packages}"
    probes = {
        "namespaces": ("unshare", "--mount", "--pid", "--fork", "--net", "true"),
        "loop devices": ("losetup", "--find"),
    }
    for what, command in probes.items():
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            return f"this machine gives no {what}: {done.stderr.strip()}"
    return None


@functools.cache
def why_no_machine(machine: str = "") -> str | None:
    """What keeps this machine from emulating one with a kernel of its own; None if nothing does.

    Args:
        machine: As `uname -m` tells it; empty: such a one as this.
    """
    if (reason := why_no_device()) is not None:
        return reason
    wanted = machine or platform.machine()
    if wanted not in _EMULATION:
        return f"no machine of the kind {wanted} is described in support.ground.qemu"
    foreign = {} if wanted == platform.machine() else _FOREIGN
    if packages := _lacking({**_EMULATION[wanted], **foreign}):
        return f"not installed: apt-get install --no-install-recommends {packages}"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "this machine gives no /dev/net/tun"
    free_mb = psutil.virtual_memory().available / 1e6
    if free_mb < _MEMORY_MB:
        return f"an emulated machine needs {_MEMORY_MB} MB of memory, {free_mb:.0f} are free"
    return None


def _lacking(programs: dict[str, str]) -> str:
    return " ".join(
        sorted(
            {
                package
                for program, package in programs.items()
                if shutil.which(program, path=SEARCH_PATH) is None
            }
        )
    )
