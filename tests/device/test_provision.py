"""`vigil provision` on a bare booted device that reaches nothing but the workstation."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ground.device import Device
from support.ground.image import BareImage, copy_disk
from support.ground.network import Network
from support.ground.nspawn import NspawnDevice
from support.ground.provisioning import provision
from support.ground.service import shown
from support.ground.workstation import INSTANCE, UNIT, Workstation

MARK = re.compile(r"unchanged|changed|would change|note")
CREATED = "find / -xdev -newer /tmp/before -type f -not -path '/var/log/*' -not -path '/tmp/*'"


@pytest.fixture
def ready(
    folder: Path, network: Network, bare: BareImage, provisioned_disk: Path
) -> Iterator[Device]:
    """Provisioned, without a bundle."""
    copy_disk(provisioned_disk, folder / "disk.img")
    with NspawnDevice(folder, network=network, image=bare) as device:
        device.start()
        yield device


def test_a_second_run_changes_nothing_and_says_so(ready: Device, desk: Workstation) -> None:
    ready.run("touch", "/tmp/before")
    said = provision(desk, ready).stderr
    assert "nothing changed" in said
    changed = set(ready.run("sh", "-c", CREATED).stdout.split())
    # What a login leaves, and nothing below what provisioning is for.
    assert not [path for path in changed if path.startswith(("/opt", "/usr"))]
    assert not [path for path in changed if path.startswith("/etc/") and "vigil" in path]


def test_it_waits_for_a_bundle_and_everything_is_in_place(ready: Device) -> None:
    assert ready.run("/opt/vigil/runtime/bin/vigil", "--version").stdout
    assert shown(ready, "UnitFileState", "ActiveState") == {
        "UnitFileState": "enabled",
        "ActiveState": "inactive",
    }
    assert ready.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert ready.run("id", "-un", "vigil").stdout == "vigil\n"
    listed = ready.run("stat", "-c", "%n %a %U", f"/etc/vigil/{INSTANCE}.yaml", "/opt/vigil").stdout
    assert f"/etc/vigil/{INSTANCE}.yaml 640 root" in listed
    assert ready.run("systemctl", "cat", UNIT).stdout.count("vigil-recover.service") >= 1


def test_a_changed_configuration_is_the_only_thing_changed(
    ready: Device, desk: Workstation
) -> None:
    before = ready.read(f"/etc/vigil/{INSTANCE}.yaml")
    ready.run("sed", "-i", "s/gate-01/gate-02/", f"/etc/vigil/{INSTANCE}.yaml")
    looked = provision(desk, ready, "--check").stderr
    assert marks(looked)["config"] == "would change"
    assert f"{INSTANCE}.yaml differs" in looked
    assert marks(looked)["runtime"] == marks(looked)["units"] == "unchanged"
    assert looked.endswith("would be changed: config\n")
    assert "gate-02" in ready.read(f"/etc/vigil/{INSTANCE}.yaml")
    said = provision(desk, ready).stderr
    assert {step for step, mark in marks(said).items() if mark == "changed"} == {"config"}
    assert said.endswith(": changed: config\n")
    assert ready.read(f"/etc/vigil/{INSTANCE}.yaml") == before


def marks(said: str) -> dict[str, str]:
    """What `vigil provision` says of each step."""
    found = {}
    for line in said.splitlines():
        words = line.partition("  ")[2].split(maxsplit=1)
        if len(words) == 2 and (mark := MARK.match(words[1])):
            found[words[0]] = mark[0]
    return found


def test_no_bundle_travels_with_the_program(desk: Workstation) -> None:
    """Devices get theirs by a flash; the reference bundles would be nine tenths of the wheel."""
    (own,) = desk.wheels.glob("vigil-*.whl")
    with zipfile.ZipFile(own) as archive:
        names = archive.namelist()
    assert "engines/flash/systemd/vigil@.service" in names
    assert not [name for name in names if name.startswith("engines/reference")]
    assert own.stat().st_size < 2e6


def test_a_password_is_nowhere_but_in_its_file(ready: Device, desk: Workstation) -> None:
    secret = desk.folder / "secret"
    secret.write_text("correct-horse\n")
    said = provision(desk, ready, "--mqtt-password-file", str(secret))
    assert "correct-horse" not in said.stdout + said.stderr
    found = ready.run(
        *("grep", "-rls", "correct-horse", "/etc", "/opt", "/var/log", "/var/lib", "/home"),
        check=False,
    ).stdout.split()
    assert found == ["/etc/vigil/credentials/mqtt_password"]
    assert ready.run("stat", "-c", "%a %U", found[0]).stdout == "600 root\n"
