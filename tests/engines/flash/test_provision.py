"""`vigil provision`: the real steps, under another root, through a stand-in for ssh."""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.small_bundles import key_pair

from edge.cli.provision import provision as provision_command
from engines.errors import DataError, UsageError, VigilError
from engines.flash.provision import Plan, Provisioned, password_of, provision
from engines.flash.remote import Remote
from engines.flash.wheelhouse import Wheelhouse, open_wheelhouse
from engines.manifest import sha256_of

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SECRET = "sesam 42"
SYSTEMCTL = """#!/bin/sh
echo "$@" >> {log}
case $1 in
  is-enabled) grep -q -- "$3" {enabled} 2>/dev/null ;;
  is-active) exit 3 ;;
  enable) shift; echo "$@" >> {enabled} ;;
esac
"""


def wheel(folder: Path, version: str = "9.1") -> Path:
    """A `vigil` that can tell its version and nothing else."""
    path = folder / f"vigil-{version}-py3-none-any.whl"
    info = f"vigil-{version}.dist-info"
    files = {
        "vigil_stand_in.py": f"def main():\n    print('vigil, version {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: vigil\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nvigil = vigil_stand_in:main\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


def house(folder: Path, *, python: str = HERE, version: str = "9.1") -> Wheelhouse:
    folder.mkdir()
    path = wheel(folder, version)
    one = {
        "name": "vigil",
        "version": version,
        "file": path.name,
        "size": path.stat().st_size,
        "sha256": sha256_of(path),
    }
    text = {"python": python, "machine": platform.machine(), "vigil": version, "wheels": [one]}
    (folder / "wheelhouse.json").write_text(json.dumps(text))
    return open_wheelhouse(folder)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a device; `ssh` and `systemctl` that work on it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    made = tmp_path / "root"
    made.mkdir()
    ssh = f'#!/bin/sh\necho "$@" >> {tmp_path}/ssh.log\nfor last; do :; done\nexec sh -c "$last"\n'
    systemctl = SYSTEMCTL.format(log=tmp_path / "systemctl.log", enabled=tmp_path / "enabled")
    (programs / "ssh").write_text(ssh)
    (programs / "systemctl").write_text(systemctl)
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    return made


def run(plan: Plan, *, check: bool = False) -> tuple[Provisioned, dict[str, str]]:
    said: list[str] = []
    with Remote("device", sudo=False) as remote:
        done = provision(remote, plan, check=check, say=lambda *words: said.append(" ".join(words)))
    assert SECRET not in "\n".join(said)
    assert SECRET not in json.dumps(done.to_json())
    return done, {step["step"]: step["state"] for step in done.steps}


def test_from_bare_to_ready_once_and_not_twice(root: Path, tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    (tmp_path / "enabled").write_text("")
    plan = Plan(
        wheels=house(tmp_path / "wheels"),
        instance="gate",
        keys=[pair.public],
        password=SECRET.encode(),
        root=str(root),
    )
    # The user is the machine's, not the root's: it is left out under another root.
    looked, states = run(plan, check=True)
    assert looked.changed
    assert list(root.iterdir()) == []
    assert states["runtime"] == states["units"] == states["config"] == "would change"
    done, states = run(plan)
    assert done.changed
    assert done.sent_bytes == plan.wheels.wheels[0].size
    for step in (
        "folders",
        "runtime",
        "units",
        "trusted-keys",
        "config",
        "credentials",
        "services",
    ):
        assert states[step] == "changed", step
    program = root / "opt/vigil/runtime/bin/vigil"
    assert os.access(program, os.X_OK)
    password = root / "etc/vigil/credentials/mqtt_password"
    assert password.read_bytes() == SECRET.encode()
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    units = root / "etc/systemd/system"
    for unit in ("vigil@", "vigil-failed@"):  # the doctor after a failure knows it, too
        assert "mqtt_password" in (units / f"{unit}.service.d/credentials.conf").read_text()
    assert not (units / "vigil-failed@.service.d/flashed.conf").exists()
    assert SECRET not in (tmp_path / "ssh.log").read_text()
    assert (root / f"etc/vigil/trusted-keys.d/{pair.key_id}.pub").exists()
    config = (root / "etc/vigil/gate.yaml").read_text()
    assert "bundle: /opt/vigil/current" in config
    assert "state: /var/lib/vigil/gate" in config
    assert not (root / "opt/vigil/wheels" / plan.wheels.name).exists()
    again, states = run(plan)
    assert not again.changed
    assert again.sent_bytes == 0
    assert set(states.values()) == {"unchanged"}
    # What a person has changed is not ours; what is ours comes back.
    (root / "etc/vigil/gate.yaml").write_text("# mine\n")
    (root / "etc/vigil/gate.yaml").chmod(0o640)
    (root / "etc/systemd/system/vigil@.service").write_text("# not ours\n")
    password.chmod(0o644)
    done, states = run(plan)
    assert {step for step, state in states.items() if state == "changed"} == {
        "units",
        "credentials",
        "services",
    }
    assert (root / "etc/vigil/gate.yaml").read_text() == "# mine\n"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600


def test_each_step_is_marked_in_what_a_person_reads(root: Path, tmp_path: Path) -> None:
    made = house(tmp_path / "wheels")
    words = ["device", "--no-sudo", "--wheelhouse", str(made.root), "--root", str(root)]

    def said(*more: str) -> list[str]:
        done = CliRunner().invoke(provision_command, [*words, *more])
        assert done.exit_code == 0, done.output
        return [" ".join(line.split()) for line in done.stderr.splitlines()]

    (tmp_path / "enabled").write_text("")
    looked = said("--check")
    assert looked[-1] == "device: would be changed: folders, runtime, units, config, services"
    assert "device runtime would change: vigil 9.1 is not installed" in looked
    assert looked[0].startswith("device python unchanged")
    assert list(root.iterdir()) == []
    assert said()[-1] == "device: changed: folders, runtime, units, config, services"
    again = said()
    assert again[-1] == "device: nothing changed"
    assert all(
        line.startswith("device python unchanged") or line.endswith("unchanged")
        for line in again[:-1]
    )
    (root / "etc/systemd/system/vigil@.service").write_text("# not ours\n")
    looked = said("--check")
    assert looked[-1] == "device: would be changed: units, services"
    assert "device runtime unchanged" in looked
    assert said("--check") == looked


def test_wheels_for_another_python_are_refused_before_anything(root: Path, tmp_path: Path) -> None:
    plan = Plan(wheels=house(tmp_path / "w", python="3.10"), instance="gate", root=str(root))
    with pytest.raises(DataError, match=r"the wheels are for 3\.10") as told:
        run(plan)
    assert f"--python {HERE}" in str(told.value.mend)
    assert list(root.iterdir()) == []


def test_a_wheelhouse_that_was_changed_is_refused(tmp_path: Path) -> None:
    made = house(tmp_path / "w")
    (made.root / made.wheels[0].file).write_bytes(b"other")
    with pytest.raises(DataError, match="missing or was changed"):
        open_wheelhouse(made.root)
    with pytest.raises(VigilError, match="no wheelhouse"):
        open_wheelhouse(tmp_path)


@pytest.mark.parametrize("text", [b"", b"\n", b"a\nb", b"a\0b", b"x" * 5000])
def test_a_password_is_one_line(text: bytes) -> None:
    with pytest.raises(UsageError, match="one line"):
        password_of(text, where="here")
    assert password_of(b"fine\r\n", where="here") == b"fine"
