"""A device for flashing on this machine: a real sshd on loopback, the real `vigil device`, a
stand-in for systemd that "starts" whatever bundle `current` leads to."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.broker import free_port

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
import click
from edge.cli import main
from edge.cli.device import device
from edge.cli.flash import flash, rollback
from edge.cli.provision import provision
from edge.cli.status import status
commands = dict(device=device, flash=flash, rollback=rollback, status=status, provision=provision)
main.vigil = click.Group(commands=commands)
main.main(sys.argv[1:])
"""

# Acts for one instance, `gate`. What it starts is well unless its digest stands in `sick`.
SYSTEMCTL = """#!{python}
import hashlib, json, os, sys
from pathlib import Path
here, home, run = Path({here!r}), Path({home!r}), Path({run!r})
state = here / "state.json"
words = [word for word in sys.argv[1:] if not word.startswith("-")]
def load():
    return json.loads(state.read_text()) if state.exists() else {{}}
with (here / "log").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
verb = words[0]
instances = (here / "instances").read_text().split()
if verb == "list-units":
    for name in instances:
        print(f"vigil@{{name}}.service loaded inactive dead vigil {{name}}")
elif verb == "restart":
    manifest = home / "current/manifest.json"
    for name in instances:
        (run / name).mkdir(parents=True, exist_ok=True)
        (run / name / "health.json").unlink(missing_ok=True)
    now = load()
    count = now.get("count", 0) + 1
    shown = dict(InvocationID=f"start{{count}}", MainPID=str(1000 + count), NRestarts="0",
                 ConditionResult="yes", UnitFileState="enabled", ExecMainStatus="0", StatusText="")
    if not manifest.exists():
        shown.update(ActiveState="inactive", SubState="dead", Result="success",
                     ConditionResult="no")
    else:
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        if digest in (here / "sick").read_text():
            shown.update(ActiveState="failed", SubState="failed", Result="exit-code",
                         ExecMainStatus="65", StatusText="a network gives other numbers")
        else:
            shown.update(ActiveState="active", SubState="running", Result="success",
                         StatusText="1/1 live, 5.0 scores/s")
            health = dict(pid=1000 + count, bundle=digest, connected=True, outbox=0,
                          backend="onnxruntime-cpu", precision="fp32",
                          cameras=dict(yard=dict(state="live", reason=None, scores=100)))
            for name in instances:
                (run / name / "health.json").write_text(json.dumps(health))
    state.write_text(json.dumps(dict(count=count, shown=shown)))
elif verb == "show":
    never = dict(ActiveState="inactive", SubState="dead", Result="success", ConditionResult="yes")
    shown = dict(load().get("shown", never), UnitFileState="enabled")
    for unit in words[1:]:
        for key, value in dict(Id=unit, **shown).items():
            print(f"{{key}}={{value}}")
        print()
elif verb in ("is-enabled", "is-active"):
    wanted = (here / "enabled").read_text() if (here / "enabled").exists() else ""
    sys.exit(0 if verb == "is-enabled" and words[1] in wanted else 3)
elif verb == "enable":
    (here / "enabled").write_text(" ".join(words[1:]))
"""


@dataclass
class FlashDevice:
    """Where everything of the device lies, and how to reach it."""

    folder: Path
    target: str
    ssh_config: Path

    @property
    def home(self) -> Path:
        """Its /opt/vigil."""
        return self.folder / "opt" / "vigil"

    @property
    def keys(self) -> Path:
        """Its trusted keys."""
        return self.folder / "etc" / "trusted-keys.d"

    @property
    def configs(self) -> Path:
        """Its configurations."""
        return self.folder / "etc"

    @property
    def program(self) -> str:
        """`--program` for the commands of the workstation."""
        return (
            f"{self.folder}/vigil device --home {self.home} --configs {self.configs}"
            f" --run {self.folder}/run --engines {self.folder}/engines --trusted {self.keys}"
            " --steady-seconds 0.5 --frames-seconds 5 --ready-seconds 10"
        )

    def sicken(self, digest: str) -> None:
        """The daemon does not start with this bundle."""
        (self.folder / "systemd" / "sick").write_text(digest)

    def journal(self) -> dict[str, object]:
        """As it is on the disk."""
        return dict(json.loads((self.home / "state.json").read_text()))

    def vigil(self, *arguments: object, timeout: float = 280) -> tuple[int, str, str]:
        """The workstation's command line, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def flash(self, *arguments: object) -> tuple[int, str, str]:
        """`vigil flash` with what reaches this device."""
        return self.vigil(
            "flash", *arguments, self.target, "-F", self.ssh_config, "--program", self.program
        )


def make_device(folder: Path, target: str, ssh_config: Path) -> FlashDevice:
    """Folders, the program, and the stand-in for systemd."""
    device = FlashDevice(folder, target, ssh_config)
    for path in (device.home, device.keys, folder / "run", folder / "systemd", folder / "bin"):
        path.mkdir(parents=True)
    (folder / "systemd" / "instances").write_text("gate\n")
    (folder / "systemd" / "sick").write_text("")
    config = (
        f"schema_version: 1\nbundle: {device.home}/current\nstate: state\n"
        "cameras: {yard: {source: 'http://127.0.0.1:9/x'}}\n"
    )
    (device.configs / "gate.yaml").write_text(config)
    systemctl = folder / "bin" / "systemctl"
    systemctl.write_text(
        SYSTEMCTL.format(
            python=sys.executable,
            here=str(folder / "systemd"),
            home=str(device.home),
            run=str(folder / "run"),
        )
    )
    program = folder / "vigil"
    (folder / "program.py").write_text(PROGRAM)
    program.write_text(
        f"#!/bin/sh\nPATH={folder}/bin:$PATH PYTHONPATH={REPOSITORY} OMP_NUM_THREADS=1"
        f' exec {sys.executable} {folder}/program.py "$@"\n'
    )
    for path in (systemctl, program):
        path.chmod(0o755)
    return device


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Path]:
    """A real sshd on loopback that lets this user in with a key of its own; its ssh configuration.

    Every host name leads to it, so that several devices can be told apart by name.
    """
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if server is None or shutil.which("ssh") is None:
        reason = "no sshd or ssh here (apt install openssh-server openssh-client)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    lines = [
        *(f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host"),
        *(f"AuthorizedKeysFile {folder}/authorized", "StrictModes no", "UsePAM no"),
        *("PasswordAuthentication no", "PermitRootLogin prohibit-password"),
        *(f"PidFile {folder}/pid", "MaxStartups 50"),
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    host = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"device {host[0]} {host[1]}\n")
    config = folder / "ssh_config"
    config.write_text(
        f"Host *\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias device\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
    )
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", str(folder / "sshd_config")],
        stderr=(folder / "log").open("w"),
        stdin=subprocess.DEVNULL,
    )
    try:
        _wait(config, folder)
        yield config
    finally:
        process.terminate()
        process.wait(10)


def _wait(config: Path, folder: Path) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        done = subprocess.run(
            ["ssh", "-F", str(config), "-oBatchMode=yes", "x", "true"],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"sshd does not answer: {(folder / 'log').read_text()} {done.stderr.decode()}")
