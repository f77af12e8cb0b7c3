"""What a device's own program says of a bundle before it may run: configurations, networks, plans.

Whatever reads the content of a bundle runs in a process of the daemon's user, never as root.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.config import Config, load_config
from engines.backends.tensorrt.library import TENSORRT
from engines.errors import DataError, TemporaryError, UnavailableError
from engines.flash.home import Home
from engines.flash.words import error_from

USER: Final = "vigil"
CONFIGS: Final = Path("/etc/vigil")
ENGINES: Final = Path("/var/cache/vigil/engines")
PROVE_S: Final = 600.0
BUILD_S: Final = 3600.0


@dataclass(frozen=True)
class Device:
    """The tests of one device (`engines.flash.runtime.Runtime`).

    Args:
        instances: Names of its daemons.
        configs: Folder of their configurations.
        engines: Folder of the plans, which the daemons read.
        note: Told what takes long.
    """

    instances: Callable[[], Sequence[str]]
    configs: Path = CONFIGS
    engines: Path = ENGINES
    note: Callable[[str], None] = lambda _text: None

    def preflight(self, home: Home) -> list[str]:
        """See that every daemon's configuration is valid and runs what is flashed.

        Raises:
            ConfigError: One of them has mistakes, all of which are told.
            InputMissingError: One of them is not there.
        """
        notes = []
        for name, config in self._configs():
            if config.bundle not in {home.current, home.current.resolve()}:
                notes.append(
                    f"{name} runs {config.bundle}, so this does not concern it; to change that, set"
                    f" `bundle: {home.current}` in {self.configs / name}.yaml"
                )
        return notes

    def prove(self, release: Path) -> str:
        """Run the golden inputs through the networks.

        Raises:
            DataError: Other numbers, or a bundle that does not load.
        """
        done = _as_daemon([sys.executable, "-m", "edge.prove", str(release)], PROVE_S, self.engines)
        told = _last_json(done.stdout)
        if done.returncode == 0 and told is not None:
            return str(told["said"])
        if told is None:
            raise DataError(
                f"its networks end the process that tries them ({_end(done)})",
                where=str(release),
                mend="vigil bundle verify and vigil bench tell more where it was made",
            )
        raise error_from({**told, "exit_code": done.returncode}, device="this device")

    def build_engines(self, release: Path) -> str | None:
        """Build TensorRT plans where that library and a GPU are.

        Raises:
            DataError: No precision builds and passes its gate.
        """
        if importlib.util.find_spec(TENSORRT) is None:
            return None
        self._make_engines_folder()
        cameras = max(1, *(len(config.cameras) for _, config in self._configs()), 1)
        command = [sys.executable, "-m", "edge.cli.main", "engine", "build", str(release)]
        command += ["--cameras", str(min(256, cameras)), "--json"]
        done = _as_daemon(["nice", "-n", "10", *command], BUILD_S, self.engines)
        if done.returncode == UnavailableError.exit_code:
            self.note(_first_line(done.stderr))
            return None
        if done.returncode:
            raise DataError(
                f"no engine: {_first_line(done.stderr)}",
                where=str(release),
                mend="vigil engine build BUNDLE on the device tells more",
            )
        plans = json.loads(done.stdout)
        return ", ".join(f"{p['stream']} {p['key']['precision']}" for p in plans)

    def _configs(self) -> list[tuple[str, Config]]:
        return [(name, load_config(self.configs / f"{name}.yaml")) for name in self.instances()]

    def _make_engines_folder(self) -> None:
        """For the daemon's user, who alone may write what is then run."""
        self.engines.mkdir(parents=True, exist_ok=True, mode=0o700)
        user = _user()
        if user is not None:
            os.chown(self.engines, user.pw_uid, user.pw_gid)


def _user() -> pwd.struct_passwd | None:
    """The daemon's user, where we are root and it is there."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def _as_daemon(
    command: list[str], timeout_s: float, engines: Path
) -> subprocess.CompletedProcess[str]:
    user = _user()
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LANG") if key in os.environ}
    environment = {
        **kept,
        "HOME": str(engines.parent),
        "VIGIL_ENGINES": str(engines),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else os.getgrouplist(USER, user.pw_gid),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(
            f"no answer within {timeout_s:.0f} s",
            where=" ".join(command[:4]),
            mend="is the device busy with something else? Try again",
        ) from error


def _last_json(text: str) -> dict[str, Any] | None:
    try:
        raw = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return raw if isinstance(raw, dict) else None


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("vigil: ")]
    return (lines or text.strip().splitlines() or ["it did not say why"])[0].removeprefix("vigil: ")


def _end(done: subprocess.CompletedProcess[str]) -> str:
    last = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
    return f"exit code {done.returncode}: {last[0][:300]}"
