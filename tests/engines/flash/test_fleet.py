"""Several devices: who is begun, who is not, and what ssh's words mean."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from engines.errors import InputMissingError, RefusedError, UnavailableError, UsageError
from engines.flash.fleet import Waves, Work, go_through
from engines.flash.remote import LostError, Remote
from engines.flash.report import Report
from engines.flash.words import error_from


def work_of(bad: set[str], begun: list[str]) -> Work:
    def work(target: str) -> Report:
        begun.append(target)
        return Report(target, "rolled_back" if target in bad else "committed")

    return work


def test_a_canary_that_fails_saves_the_others() -> None:
    begun: list[str] = []
    reports = go_through(["a", "b", "c"], work_of({"a"}, begun), Waves())
    assert begun == ["a"]
    assert [report.outcome for report in reports] == ["rolled_back", "not_tried", "not_tried"]


def test_after_a_failure_no_further_device_is_begun() -> None:
    begun: list[str] = []
    reports = go_through(list("abcdef"), work_of({"c"}, begun), Waves(parallel=1))
    assert begun == ["a", "b", "c"]
    assert [r.outcome for r in reports] == [
        *["committed"] * 2,
        "rolled_back",
        *["not_tried"] * 3,
    ]
    begun.clear()
    go_through(list("abcdef"), work_of({"c"}, begun), Waves(parallel=1, max_failures=1))
    assert begun == list("abcdef")


def test_the_others_go_at_once_and_only_after_the_canary() -> None:
    running, most, seen = 0, 0, []
    lock = threading.Lock()

    def work(target: str) -> Report:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            seen.append((target, running))
        deadline = time.monotonic() + 10
        while target != "a" and most < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        with lock:
            running -= 1
        return Report(target, "committed")

    pauses: list[float] = []
    go_through(list("abcd"), work, Waves(parallel=3, soak_s=7.0), sleep=pauses.append)
    assert seen[0] == ("a", 1)
    assert most == 3
    assert pauses == [7.0]


def test_a_device_is_named_once() -> None:
    with pytest.raises(UsageError, match="a is named twice"):
        go_through(["a", "b", "a"], work_of(set(), []), Waves())


@pytest.mark.parametrize("target", ["-oProxyCommand=x", "", "a b", "a;b", "a\nb", "a$(b)", "`a`"])
def test_a_target_cannot_be_an_option_or_a_command(target: str) -> None:
    with pytest.raises(UsageError, match="is no device"):
        Remote(target)
    Remote("user@host-1.example")


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "ssh"


@pytest.mark.parametrize(
    ("says", "code", "kind"),
    [
        ("Host key verification failed.", 255, RefusedError),
        ("vigil@gate: Permission denied (publickey).", 255, RefusedError),
        ("ssh: connect to host gate port 22: Connection refused", 255, LostError),
        ("client_loop: send disconnect: Broken pipe", 255, LostError),
        ("sudo: a password is required", 1, RefusedError),
        ("sh: 1: exec: /opt/vigil/runtime/bin/vigil: not found", 127, InputMissingError),
    ],
)
def test_what_ssh_and_sudo_say_is_understood(
    fake_ssh: Path, says: str, code: int, kind: type[Exception]
) -> None:
    fake_ssh.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    fake_ssh.chmod(0o755)
    with Remote("gate") as remote, pytest.raises(kind) as told:
        remote.call(["true"])
    assert type(told.value) is kind
    assert told.value.where == "gate"
    assert told.value.mend


def test_the_command_and_its_options(fake_ssh: Path, tmp_path: Path) -> None:
    fake_ssh.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\ncat\n')
    fake_ssh.chmod(0o755)
    with Remote("u@gate", tmp_path / "config") as remote:
        done = remote.call(["a b", "c'd"], write=lambda stream: stream.write(b"input\n"))
    lines = done.out.decode().splitlines()
    assert lines[:2] == ["-F", str(tmp_path / "config")]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10"):
        assert f"-o{option}" in lines
    assert lines[-4:-2] == ["--", "u@gate"]
    assert lines[-2] == (
        "if [ \"$(id -u)\" = 0 ]; then exec 'a b' 'c'\"'\"'d'; else exec sudo -n --"
        " 'a b' 'c'\"'\"'d'; fi"
    )
    assert lines[-1] == "input"


def test_a_device_that_hangs_is_taken_for_gone(fake_ssh: Path) -> None:
    fake_ssh.write_text("#!/bin/sh\nexec sleep 60\n")
    fake_ssh.chmod(0o755)
    with Remote("gate") as remote:
        with pytest.raises(LostError, match="does not answer"):
            remote.call(["true"], timeout_s=0.5)
        fake_ssh.write_text("#!/bin/sh\nexit 0\n")


def test_what_a_device_says_keeps_its_code_and_cannot_steer_a_terminal() -> None:
    raw = {"what": "no\x1b[2J", "where": "x\ny", "mend": None, "exit_code": 77}
    error = error_from(raw, device="gate")
    assert isinstance(error, RefusedError)
    assert "\x1b" not in str(error)
    assert error.where == "gate: x y"
    assert isinstance(error_from({"exit_code": 69}, device="g"), UnavailableError)
    assert error_from("nonsense", device="g").exit_code == 70
