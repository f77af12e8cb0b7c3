"""scripts/set_up.sh on machines that lack something, and what the Makefile calls.

The script runs in a copy of the few files that it reads, with a PATH of its own: a `python3` that
notes what it is asked for, and no apt-get, sudo or mosquitto unless a test adds them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
_NEEDED = ("bash", "cat", "cut", "dirname", "env", "grep", "mkdir", "sha256sum")

# Makes virtual environments that hold a copy of itself; answers to the questions of the script.
_PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
  *version_info*) exit "${TOO_OLD:-0}" ;;
  *"import ensurepip"*) test -e "$CALLS.ensurepip" ;;
  "-m venv "*) mkdir -p .venv/bin && cat "$0" > .venv/bin/python && chmod +x .venv/bin/python ;;
  "-m pip --version") exit "${NO_PIP:-0}" ;;
  "-m pip install"*) exit "${PIP_FAILS:-0}" ;;
  --version) echo "Python 3.9.2" ;;
esac
"""


@dataclass
class Machine:
    root: Path

    @property
    def calls_file(self) -> Path:
        return self.root / "calls"

    def add_program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def installs(self) -> list[str]:
        return [line for line in self.calls() if line.startswith("-m pip install")]

    def set_up(self, goal: str = "setup", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "scripts/set_up.sh", goal],
            cwd=self.root,
            env={"PATH": str(self.root / "bin"), "CALLS": str(self.calls_file), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/set_up.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    for name in (*_NEEDED, "chmod"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    made = Machine(tmp_path)
    made.add_program("python3", _PYTHON)
    made.add_program("id", "#!/usr/bin/env bash\necho 1000\n")  # not root
    (tmp_path / "calls.ensurepip").touch()
    return made


def test_it_installs_the_pinned_wheels_once(machine: Machine) -> None:
    first, second = machine.set_up(), machine.set_up()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    (install,) = machine.installs()
    assert "--constraint constraints.txt" in install
    assert "--editable .[train,broker,page,cpu-fast,dev]" in install
    assert second.stderr == ""


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_it_installs_again_when_what_is_wanted_has_changed(machine: Machine, name: str) -> None:
    machine.set_up()
    with (machine.root / name).open("a") as file:
        file.write("# changed\n")
    machine.set_up()
    assert len(machine.installs()) == 2


def test_it_tries_again_after_an_install_that_failed(machine: Machine) -> None:
    failed = machine.set_up(PIP_FAILS="1")
    assert failed.returncode == 69
    assert "check the network" in failed.stderr
    assert machine.set_up().returncode == 0
    assert len(machine.installs()) == 2


def test_a_virtual_environment_that_was_broken_off_is_made_again(machine: Machine) -> None:
    machine.set_up()
    machine.set_up(NO_PIP="1")
    assert sum(call.startswith("-m venv") for call in machine.calls()) == 2


def test_another_torch_replaces_the_pinned_one_and_its_cuda_packages(machine: Machine) -> None:
    assert machine.set_up(TORCH="torch==2.9.1").returncode == 0
    (install,) = machine.installs()
    assert install.endswith("torch==2.9.1")
    assert "--constraint .venv/constraints.txt" in install
    pinned, left = (
        (machine.root / name).read_text().splitlines()
        for name in ("constraints.txt", ".venv/constraints.txt")
    )
    gone = {line.split("==")[0] for line in set(pinned) - set(left)}
    assert "torch" in gone
    assert all(name.startswith(("torch", "triton", "nvidia-", "cuda-")) for name in gone)
    assert any(line.startswith("numpy==") for line in left)


def test_an_old_python_is_named_with_what_to_type(machine: Machine) -> None:
    told = machine.set_up(TOO_OLD="1")
    assert told.returncode == 69
    assert "Python 3.10 or newer is needed, Python 3.9.2 found" in told.stderr
    assert "make setup PYTHON=" in told.stderr
    assert machine.installs() == []


def test_without_python_one_line_says_what_to_install(machine: Machine) -> None:
    (machine.root / "bin" / "python3").unlink()
    told = machine.set_up()
    assert told.returncode == 69
    assert told.stderr.splitlines() == [
        "setup: there is no python3; install it: sudo apt-get install python3 python3-venv"
    ]


def test_without_venv_and_without_rights_one_line_says_what_to_install(machine: Machine) -> None:
    (machine.root / "calls.ensurepip").unlink()
    told = machine.set_up()
    assert told.returncode == 69
    assert len(told.stderr.splitlines()) == 1
    assert "sudo apt-get install python3-venv" in told.stderr


def test_with_rights_debian_packages_are_installed(machine: Machine) -> None:
    (machine.root / "calls.ensurepip").unlink()
    machine.add_program("id", "#!/usr/bin/env bash\necho 0\n")
    machine.add_program("apt-get", '#!/usr/bin/env bash\nprintf "apt %s\\n" "$*" >> "$CALLS"\n')
    done = machine.set_up("test")
    assert done.returncode == 0, done.stderr
    packages = [call.split()[-1] for call in machine.calls() if call.startswith("apt install")]
    assert packages[0] == "python3-venv"
    broker = [] if Path("/usr/sbin/mosquitto").exists() else ["mosquitto"]
    server = any(Path("/usr/lib").glob("*/girepository-1.0/GstRtspServer-1.0.typelib"))
    nspawn = all(Path("/usr/bin", name).exists() for name in ("systemd-nspawn", "mmdebstrap"))
    assert packages[1:] == [
        *broker,
        *([] if server else ["gstreamer1.0-plugins-ugly"]),
        *([] if Path("/usr/bin/chromium").exists() else ["chromium"]),
        *([] if Path("/usr/bin/systemd-analyze").exists() else ["systemd"]),
        *([] if nspawn else ["systemd-container"]),
    ]


def test_an_emulator_is_installed_for_its_tests_alone(machine: Machine) -> None:
    machine.add_program("id", "#!/usr/bin/env bash\necho 0\n")
    machine.add_program("apt-get", '#!/usr/bin/env bash\nprintf "apt %s\\n" "$*" >> "$CALLS"\n')
    assert machine.set_up("test").returncode == 0
    assert not [call for call in machine.calls() if "qemu" in call]
    done = machine.set_up("test-device")
    assert done.returncode == 0, done.stderr
    (call,) = [call for call in machine.calls() if "qemu" in call]
    assert call.split()[-1] == "nbdkit"
    for program in (f"qemu-system-{platform.machine()}", "nbdkit"):
        machine.add_program(program, "#!/usr/bin/env bash\n")
    machine.set_up("test-device")
    assert len([call for call in machine.calls() if "qemu" in call]) == 1


def _would_run(target: str) -> str:
    make = shutil.which("make")
    assert make is not None, "the tests are run by make"
    # Called from `make test` this is a make within a make; it must not see the outer one's flags.
    calm = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        [make, "--dry-run", target],
        cwd=REPOSITORY,
        env={**calm, "MFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_demo_and_test_set_up_first() -> None:
    demo, everything = _would_run("demo"), _would_run("test")
    assert demo.index("set_up.sh") < demo.index("vigil demo")
    steps = ["set_up.sh", "ruff check", "ruff format --check", "mypy", "lint-imports", "-m pytest"]
    places = [everything.index(step) for step in steps]
    assert places == sorted(places)


def test_ci_runs_the_test_command() -> None:
    assert "exec make test" in (REPOSITORY / ".ci" / "run").read_text()
