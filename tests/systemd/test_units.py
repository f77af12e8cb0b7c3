"""The unit files: what systemd says of them, and that they agree with the code."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.capture.process import KILL_S, TERMINATE_S
from edge.cli.device import device as device_group
from edge.config import config_from_text
from edge.daemon import STOP_FLUSH_S
from edge.page.observer import STOP_S as PAGE_STOP_S
from edge.publish.publisher import ANSWER_S
from edge.publish.session import GOODBYE_S
from edge.watchdog import BEATS_PER_PERIOD, PROBE_AFTER_S
from engines import errors
from engines.errors import VigilError

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))
ONCE = ("vigil-recover.service", "vigil-settle.service")
UNITS = ("vigil@gate.service", "vigil-failed@gate.service", *ONCE)
CPU_LIMIT, GPU_LIMIT = 1.5, 2.0
RECOVER_LIMIT, SETTLE_LIMIT = 1.5, 3.8


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (apt install systemd)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The root of a device: this machine's standard units, ours, and the programs they start."""
    program("systemd-analyze")
    standard = next(
        (p for p in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")) if p.is_dir()),
        None,
    )
    assert standard is not None
    root = tmp_path / "root"
    shutil.copytree(standard, root / "usr/lib/systemd/system", symlinks=True)
    local = root / "etc/systemd/system"
    local.mkdir(parents=True)
    for unit in SYSTEMD.glob("*.service"):
        shutil.copy(unit, local)
    for program_file in (root / "opt/vigil/runtime/bin/vigil", root / "bin/kill"):
        program_file.parent.mkdir(parents=True)
        program_file.write_text("#!/bin/sh\n")
        program_file.chmod(0o755)
    return root


def add(device: Path, *names: str, unit: str = "vigil@gate") -> None:
    folder = device / f"etc/systemd/system/{unit}.service.d"
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(SYSTEMD / "drop-ins" / f"{name}.conf", folder)


def verify(device: Path) -> str:
    """What `systemd-analyze verify` complains of, in our units."""
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={device}", "--recursive-errors=no", *UNITS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"rc {done.returncode}")


def exposure(device: Path, unit: str) -> float:
    """Overall exposure level by `systemd-analyze security`."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--root={device}", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout + done.stderr)
    assert found is not None, done
    return float(found[1])


def test_the_units_are_clean(device: Path) -> None:
    assert verify(device) == ""


@pytest.mark.parametrize("drop_in", [path.stem for path in DROP_INS])
def test_each_drop_in_is_clean(device: Path, drop_in: str) -> None:
    add(device, drop_in)
    assert verify(device) == ""


def test_the_doctor_after_a_failure_can_open_what_the_daemon_could(device: Path) -> None:
    def environment(unit: str) -> set[str]:
        text = (SYSTEMD / unit).read_text()
        lines = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
        return {word for line in lines for word in line.split()}

    daemon, doctor = map(environment, ("vigil@.service", "vigil-failed@.service"))
    assert daemon - doctor == {"PYTHONUNBUFFERED=1"}
    add(device, "gpu", "usb-camera", "csi-camera", "credentials", unit="vigil-failed@gate")
    assert verify(device) == ""
    assert exposure(device, "vigil-failed@gate.service") <= GPU_LIMIT


def test_a_mistake_would_be_seen(device: Path) -> None:
    unit = device / "etc/systemd/system/vigil@.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=30s", "WatchdgSec=30s"))
    assert "WatchdgSec" in verify(device)


def test_the_cpu_unit_is_locked_down(device: Path) -> None:
    assert exposure(device, "vigil@gate.service") <= CPU_LIMIT
    add(device, "credentials", "network")
    assert exposure(device, "vigil@gate.service") <= CPU_LIMIT
    assert exposure(device, "vigil-failed@gate.service") <= GPU_LIMIT


def test_what_must_be_root_has_nothing_else(device: Path) -> None:
    # Both own the releases; one starts daemons, so it keeps the right to speak to systemd.
    assert exposure(device, "vigil-recover.service") <= RECOVER_LIMIT
    assert exposure(device, "vigil-settle.service") <= SETTLE_LIMIT


def test_recovery_comes_before_every_daemon(device: Path) -> None:
    add(device, "flashed")
    folder = device / "etc/systemd/system/vigil@gate.service.d"
    assert "vigil-recover.service" in settings(folder / "flashed.conf", "Unit")["After"]
    before = settings(SYSTEMD / "vigil-recover.service", "Unit")["Before"]
    assert "multi-user.target" in before
    # A restart during a flash must not start it: the flash holds the device.
    assert "Wants" not in settings(folder / "flashed.conf", "Unit")
    assert settings(SYSTEMD / "vigil-recover.service", "Install")["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize("more", [(), ("usb-camera",), ("csi-camera",), ("usb-camera", "network")])
def test_the_gpu_unit_is_locked_down_as_far_as_a_gpu_allows(
    device: Path, more: tuple[str, ...]
) -> None:
    plain = exposure(device, "vigil@gate.service")
    add(device, "gpu", *more)
    assert plain < exposure(device, "vigil@gate.service") <= GPU_LIMIT


def test_without_its_hardening_it_would_be_exposed(device: Path) -> None:
    unit = device / "etc/systemd/system/vigil@.service"
    unit.write_text(unit.read_text().replace("SystemCallFilter=", "#").replace("NoNew", "#"))
    assert exposure(device, "vigil@gate.service") > CPU_LIMIT


def settings(path: Path, section: str) -> dict[str, str]:
    """A section; of keys that stand twice the last value (enough for what is asked here)."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return dict(parser[section])


def test_codes_that_only_a_person_can_mend_do_not_restart() -> None:
    told = settings(SYSTEMD / "vigil@.service", "Service")["RestartPreventExitStatus"].split()
    families = (
        errors.UsageError,
        errors.DataError,
        errors.InputMissingError,
        errors.RefusedError,
        errors.ConfigError,
    )
    assert sorted(map(int, told)) == sorted(family.exit_code for family in families)
    mended_by_time = {one.exit_code for one in VigilError.__subclasses__()} - set(map(int, told))
    assert mended_by_time == {69, 70, 73, 75}


def test_the_watchdog_leaves_time_for_beats_and_probes() -> None:
    period_s = float(settings(SYSTEMD / "vigil@.service", "Service")["WatchdogSec"].rstrip("s"))
    assert period_s / BEATS_PER_PERIOD + PROBE_AFTER_S < period_s / 1.5


def test_it_runs_a_command_that_exists_and_the_example_is_a_configuration() -> None:
    project = (SYSTEMD.parent / "pyproject.toml").read_text()
    for unit in SYSTEMD.glob("*.service"):
        command = settings(unit, "Service")["ExecStart"].split()
        assert command[0] == "/opt/vigil/runtime/bin/vigil"
        assert re.search(rf'^{command[1]} = "edge\.cli\.', project, re.MULTILINE)
        if unit.name in ONCE:
            assert command[1] == "device"
            assert command[2] in device_group.commands
        else:
            assert command[2:] == ["/etc/vigil/%i.yaml"]
    example = SYSTEMD / "example.yaml"
    config = config_from_text(example.read_text(), file=str(example), folder=SYSTEMD)
    assert config.state == Path("/var/lib/vigil/gate")


def test_user_and_folders_are_made_with_their_owners(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    subprocess.run(
        [program("systemd-sysusers"), f"--root={root}", str(SYSTEMD / "vigil.sysusers.conf")],
        check=True,
        timeout=30,
        capture_output=True,
    )
    users = (root / "etc/passwd").read_text()
    found = re.search(r"^vigil:[^:]*:(\d+):(\d+):.*:/var/lib/vigil:(\S+)$", users, re.MULTILINE)
    assert found is not None, users
    assert found[3].endswith("nologin")
    groups = (root / "etc/group").read_text()
    assert all(
        re.search(rf"^{name}:", groups, re.MULTILINE) for name in ("vigil", "video", "render")
    )
    if os.geteuid() != 0:
        pytest.skip("only root can give folders to another user")
    subprocess.run(
        [
            program("systemd-tmpfiles"),
            "--create",
            f"--root={root}",
            str(SYSTEMD / "vigil.tmpfiles.conf"),
        ],
        check=True,
        timeout=30,
        capture_output=True,
    )
    uid, gid = int(found[1]), int(found[2])
    for path, owner, group, mode in (
        ("etc/vigil", 0, gid, 0o750),
        ("etc/vigil/credentials", 0, 0, 0o700),
        ("var/lib/vigil", uid, gid, 0o750),
        ("var/cache/vigil", uid, gid, 0o750),
    ):
        status = (root / path).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (owner, group, mode), path


def test_nothing_secret_is_asked_for_in_files_that_anybody_reads() -> None:
    for path in [*SYSTEMD.glob("*.env"), *SYSTEMD.glob("*.yaml"), *SYSTEMD.glob("*.service")]:
        assert not re.search(r"^[^#]*PASSWORD\s*=", path.read_text(), re.MULTILINE), path


def test_a_stop_is_over_before_systemd_loses_patience() -> None:
    """Also where the broker's name cannot be resolved, and a capture process hangs."""
    unit = (SYSTEMD / "vigil@.service").read_text()
    allowed = re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    assert allowed is not None
    delivering_s = STOP_FLUSH_S + GOODBYE_S + ANSWER_S
    ending_captures_s = TERMINATE_S + KILL_S  # side by side, and beside the delivering
    assert max(delivering_s, ending_captures_s) + PAGE_STOP_S + 5.0 <= int(allowed[1])


def test_a_reload_reaches_the_daemon() -> None:
    unit = (SYSTEMD / "vigil@.service").read_text()
    assert re.search(r"^ExecReload=/bin/kill -HUP \$MAINPID$", unit, re.MULTILINE)
