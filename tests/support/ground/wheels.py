"""What devices install, gathered on the workstation by `vigil wheelhouse`.

This is all that needs a network, and pip decides where it takes packages from. They are kept
between runs; what has changed is fetched again.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import sys
from pathlib import Path

from support.ground.commands import REPOSITORY, VIGIL, run
from support.ground.image import PYTHON, cache_folder

_MADE_FROM = (
    *("pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
    *("edge", "calibration", "engines", "trainer", "systemd"),
)
_GATHER_S = 1200.0


def wheelhouse(machine: str = "") -> Path:
    """Everything that a device installs, vigil as it stands in this working tree included.

    Args:
        machine: As `uname -m` tells it; empty: such a one as this.
    """
    machine = machine or platform.machine()
    folder = cache_folder() / f"wheels-{PYTHON}-{machine}"
    stamp, wanted = folder / "made-from", _sources()
    with (cache_folder() / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return folder
        run(*(sys.executable, "-m", "edge.cli.main", "wheelhouse", str(folder)),
            *("--python", PYTHON, "--machine", machine),
            timeout_s=_GATHER_S, env=VIGIL)  # fmt: skip
        stamp.write_text(wanted)
    return folder


def _sources() -> str:
    """A hash of all that the wheels are made from."""
    digest = hashlib.sha256()
    for name in _MADE_FROM:
        root = REPOSITORY / name
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
