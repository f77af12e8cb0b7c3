"""A bare device becomes one that takes bundles: by `vigil provision`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.ground.device import Device
from support.ground.workstation import INSTANCE, Workstation

_INSTALL_S = 1200.0


def provision(
    desk: Workstation,
    device: Device,
    *more: str,
    check: bool = True,
    wheels: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Make a bare device ready; a second call should change nothing."""
    config = desk.folder / "gate.yaml"
    config.write_text(desk.config())
    return desk.vigil(
        *("provision", device.target, "-F", str(device.ssh_config), "--offline"),
        *("--wheelhouse", str(wheels or desk.wheels), "--instance", INSTANCE),
        *("--trust", str(desk.key.public), "--config", str(config), *more),
        timeout_s=_INSTALL_S * device.stretch,
        check=check,
    )
