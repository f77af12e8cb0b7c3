"""What devices install, gathered on the workstation by `vigil wheelhouse`.

This is all that needs a network, and pip decides where it takes packages from. They are kept
between runs; what has changed is fetched again.
"""

from __future__ import annotations

import fcntl
import platform
import sys
from pathlib import Path

from support.ground.commands import VIGIL, run
from support.ground.image import PYTHON, cache_folder

_GATHER_S = 1200.0


def wheelhouse() -> Path:
    """Everything that a device installs, vigil as it stands in this working tree included."""
    folder = cache_folder() / f"wheels-{PYTHON}-{platform.machine()}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(*(sys.executable, "-m", "edge.cli.main", "wheelhouse", str(folder)),
            *("--python", PYTHON, "--machine", platform.machine()),
            timeout_s=_GATHER_S, env=VIGIL)  # fmt: skip
    return folder
