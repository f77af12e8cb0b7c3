"""The playbooks: their syntax, and that they call the very commands that are called by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ANSIBLE = Path(__file__).resolve().parents[2] / "systemd" / "ansible"
VIGIL = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
changed = "--check" in sys.argv or "gate-01" in sys.argv
print(json.dumps({{"changed": changed, "devices": [{{"outcome": "committed"}}]}}))
"""


@pytest.fixture
def play(tmp_path: Path) -> "tuple[list[str], Path, dict[str, str]]":
    """The program, a folder with an inventory, and an environment that writes nowhere else."""
    program = Path(sys.executable).parent / "ansible-playbook"
    found = str(program) if program.exists() else shutil.which("ansible-playbook")
    if found is None:
        reason = "ansible-core is not installed (pip install 'vigil[dev]')"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    for path in ANSIBLE.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    (tmp_path / "inventory.example.yaml").rename(tmp_path / "inventory.yaml")
    vigil = tmp_path / "vigil"
    vigil.write_text(VIGIL.format(python=sys.executable, log=str(tmp_path / "log")))
    vigil.chmod(0o755)
    environment = {
        **os.environ,
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "temp"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    return [found, "-i", "inventory.yaml", "-e", f"vigil_command={vigil}"], tmp_path, environment


def run(play: "tuple[list[str], Path, dict[str, str]]", *arguments: str) -> str:
    command, folder, environment = play
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_provisioning_calls_the_command_and_believes_what_it_says(
    play: "tuple[list[str], Path, dict[str, str]]",
) -> None:
    run(play, "--syntax-check", "provision.yaml")
    told = run(play, "provision.yaml")
    calls = [json.loads(line) for line in (play[1] / "log").read_text().splitlines()]
    by_device = {call[1]: call for call in calls}
    assert set(by_device) == {"gate-01", "yard-01"}
    assert by_device["yard-01"] == [
        *("provision", "yard-01", "--json", "--wheelhouse", "wheels/3.10-aarch64"),
        *("--instance", "camera", "--trust", "keys/maker.pub", "--config", "configs/yard-01.yaml"),
        "--drop-in=gpu",
    ]
    recap = {line.split()[0]: line for line in told.splitlines() if "changed=" in line}
    assert "changed=1" in recap["gate-01"]
    assert "changed=0" in recap["yard-01"]


def test_flashing_is_one_call_for_the_fleet_and_a_check_only_looks(
    play: "tuple[list[str], Path, dict[str, str]]",
) -> None:
    run(play, "--syntax-check", "flash.yaml")
    told = run(play, "flash.yaml")
    run(play, "--check", "provision.yaml")
    calls = [json.loads(line) for line in (play[1] / "log").read_text().splitlines()]
    assert calls[0] == ["flash", "runs/yard/bundle", "gate-01", "yard-01", "--json"]
    assert "changed=1" in told
    assert all("--check" in call for call in calls[1:])
    assert len(calls) == 3
