"""The daemons of a device: which there are, starting them anew, and how they stand.

`Services` is what installing needs; `Systemd` is the real one. What systemd cannot know (which
bundle was loaded, which cameras give frames) a daemon writes to `/run/vigil/NAME/health.json`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from engines.errors import UnavailableError

RUN_FOLDER: Final = Path("/run/vigil")
HEALTH_FILE: Final = "health.json"
TEMPLATE: Final = "vigil"
_INSTANCE = re.compile(rf"{TEMPLATE}@([a-z0-9_-]{{1,32}})\.service")
_SHOWN: Final = (
    *("ActiveState", "SubState", "Result", "NRestarts", "StatusText", "MainPID"),
    *("ExecMainStatus", "ConditionResult", "UnitFileState", "InvocationID"),
)
_RUNNING: Final = ("active", "activating", "reloading")
_MAX_HEALTH: Final = 256 * 1024


@dataclass(frozen=True)
class Health:
    """What a daemon says of itself.

    Attributes:
        pid: Its process.
        bundle: Digest of the bundle that it runs.
        scores: Frames scored since its start, by camera.
        live: Cameras that give frames now.
        connected: There is a connection to the broker; None: it does not say.
        raw: All that it says.
    """

    pid: int
    bundle: str
    scores: Mapping[str, int]
    live: frozenset[str]
    connected: bool | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Standing:
    """How a daemon's unit stands, in systemd's words, and its health if it runs."""

    active: str
    sub: str = ""
    result: str = "success"
    restarts: int = 0
    status: str = ""
    exit_status: int = 0
    condition: bool = True
    enabled: str = ""
    invocation: str = ""
    health: Health | None = None


class Services(Protocol):
    """What installing asks of the service manager."""

    def instances(self) -> list[str]:
        """Names of the daemons that are to run."""

    def restart(self, names: Iterable[str]) -> None:
        """Start them anew with what `current` leads to now; returns before they are ready."""

    def stand(self, name: str) -> Standing:
        """How one stands."""


class Systemd:
    """systemd's instances of `vigil@.service`.

    Args:
        run: Folder in which the daemons have their runtime folders.
    """

    def __init__(self, run: Path = RUN_FOLDER) -> None:
        self._run = run

    def instances(self) -> list[str]:
        """Enabled ones, and those that run without being enabled.

        Raises:
            UnavailableError: systemd cannot be asked.
        """
        # Not `list-unit-files`: it knows the template and no instance of it. What is enabled is
        # wanted by a target, and therefore loaded.
        plain = ("--all", "--plain", "--no-legend", "--no-pager", f"{TEMPLATE}@*.service")
        lines = _systemctl("list-units", *plain).splitlines()
        units = [line.split()[0] for line in lines if line.split()]
        if not units:
            return []
        told = _systemctl("show", "--property=Id,UnitFileState,ActiveState", *units)
        found = set()
        for block in told.split("\n\n"):
            shown = dict(line.partition("=")[::2] for line in block.splitlines())
            match = _INSTANCE.fullmatch(shown.get("Id", ""))
            wanted = shown.get("UnitFileState", "").startswith("enabled")
            if match is not None and (wanted or shown.get("ActiveState") in _RUNNING):
                found.add(match[1])
        return sorted(found)

    def restart(self, names: Iterable[str]) -> None:
        """Queue a restart of each; earlier failures are forgotten.

        Raises:
            UnavailableError: systemd refuses.
        """
        units = [f"{TEMPLATE}@{name}.service" for name in names]
        if units:
            _systemctl("reset-failed", *units, check=False)
            _systemctl("restart", "--no-block", *units)

    def stand(self, name: str) -> Standing:
        """Ask systemd and the daemon.

        Raises:
            UnavailableError: systemd cannot be asked.
        """
        text = _systemctl("show", f"--property={','.join(_SHOWN)}", f"{TEMPLATE}@{name}.service")
        shown = dict(line.partition("=")[::2] for line in text.splitlines())
        health = read_health(self._run / name / HEALTH_FILE)
        if health is not None and str(health.pid) != shown.get("MainPID"):
            health = None  # of a process that is no more
        return Standing(
            active=shown.get("ActiveState", "unknown"),
            sub=shown.get("SubState", ""),
            result=shown.get("Result", ""),
            restarts=_number(shown.get("NRestarts")),
            status=shown.get("StatusText", ""),
            exit_status=_number(shown.get("ExecMainStatus")),
            condition=shown.get("ConditionResult", "yes") == "yes",
            enabled=shown.get("UnitFileState", ""),
            invocation=shown.get("InvocationID", ""),
            health=health,
        )


def read_health(path: Path) -> Health | None:
    """A daemon's own words; None where there are none that can be understood."""
    try:
        with path.open("rb") as stream:
            raw = json.loads(stream.read(_MAX_HEALTH))
        cameras = raw["cameras"]
        return Health(
            pid=int(raw["pid"]),
            bundle=str(raw["bundle"]),
            scores={str(name): int(camera["scores"]) for name, camera in cameras.items()},
            live=frozenset(str(n) for n, camera in cameras.items() if camera["state"] == "live"),
            connected=raw.get("connected"),
            raw=raw,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _systemctl(*arguments: str, check: bool = True) -> str:
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(
            f"the service manager does not answer: {error}",
            where="systemctl",
            mend="this needs a machine that systemd has started",
        ) from error
    if check and done.returncode:
        raise UnavailableError(
            f"the service manager refuses: {done.stderr.strip()[:300] or done.returncode}",
            where=f"systemctl {arguments[0]}",
            mend="as root; `systemctl status` tells more",
        )
    return done.stdout
