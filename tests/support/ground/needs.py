"""Can devices be booted on this machine? Asked once, answered with the reason."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

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
