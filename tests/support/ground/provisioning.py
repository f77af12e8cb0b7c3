"""A bare device becomes one that takes bundles: by `vigil provision`, from wheels gathered here.

Gathering the wheels is all that needs a network, and pip decides where it takes them from. They are
kept between runs; what has changed is fetched again.
"""

from __future__ import annotations

import fcntl
import platform
import subprocess
from pathlib import Path

from support.ground.device import Device
from support.ground.image import PYTHON, cache_folder
from support.ground.workstation import INSTANCE, Workstation

_GATHER_S = 1200.0
_INSTALL_S = 1200.0


def wheelhouse(desk: Workstation) -> Path:
    """Everything that a device installs, vigil as it stands in this working tree included."""
    folder = cache_folder() / f"wheels-{PYTHON}-{platform.machine()}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        desk.vigil(
            *("wheelhouse", str(folder), "--python", PYTHON, "--machine", platform.machine()),
            timeout_s=_GATHER_S,
            elsewhere=True,
        )
    return folder


def provision(
    desk: Workstation, device: Device, *more: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Make a bare device ready; a second call should change nothing."""
    config = desk.folder / "gate.yaml"
    config.write_text(desk.config())
    return desk.vigil(
        *("provision", device.target, "-F", str(device.ssh_config), "--offline"),
        *("--wheelhouse", str(desk.wheels), "--instance", INSTANCE),
        *("--trust", str(desk.key.public), "--config", str(config), *more),
        timeout_s=_INSTALL_S,
        check=check,
    )
