"""What `vigil flash` does when the line breaks while the device installs: ask, and ask again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.bundles import tiny_bundle

from engines.flash.outgoing import LocalBundle
from engines.flash.push import Options, Push
from engines.flash.remote import LostError

PATIENT_S = 60.0


class Line:
    """Plays the device's side from a list of answers; an error is raised."""

    def __init__(self, answers: list[tuple[str, object]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def ask(self, _kind: str, command: list[str], **_more: object) -> Any:
        self.asked.append(command[0])
        expected, answer = self._answers.pop(0)
        assert command[0] == expected, self.asked
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoRemote:
    target = "admin@gate"

    def disconnect(self) -> None:
        """There is no connection."""


def idle(last: object = None) -> dict[str, Any]:
    return {"busy": False, "journal": {"trial": None, "last": last}}


def push(tmp_path: Path, answers: list[tuple[str, object]]) -> tuple[Push, Line, list[str]]:
    made = tiny_bundle(tmp_path / "b", workspace=tmp_path)
    bundle = LocalBundle(made.root, made.manifest, made.manifest.encode(), b"")
    said: list[str] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    one = Push(
        NoRemote(),  # type: ignore[arg-type]
        bundle,
        Options(patient_s=PATIENT_S),
        say=lambda step, state, text: said.append(f"{step} {state} {text}"),
        sleep=sleep,
        monotonic=lambda: now[0],
    )
    line = Line(answers)
    one._device = line  # type: ignore[assignment]
    return one, line, said


def test_an_installation_that_had_not_begun_is_asked_for_again(tmp_path: Path) -> None:
    broken = LostError("the line is gone", where="gate")
    one, line, said = push(tmp_path, [])
    ending = {"outcome": "committed", "name": one._bundle.name, "reason": "", "notes": []}
    line._answers = [
        ("install", broken),
        ("status", broken),
        ("status", idle()),
        ("install", ending),
    ]
    one._install(None)
    assert line.asked == ["install", "status", "status", "install"]
    assert any("trying again" in text for text in said)
    assert one._report.outcome == "committed"


def test_what_the_device_ended_by_itself_is_taken_as_it_is(tmp_path: Path) -> None:
    one, line, _ = push(tmp_path, [])
    last = {"outcome": "committed", "name": one._bundle.name, "reason": "", "notes": ["by itself"]}
    line._answers = [
        ("install", LostError("gone", where="gate")),
        ("status", {"busy": True, "journal": {"trial": None, "last": None}}),
        ("status", idle(last)),
    ]
    one._install(None)
    assert line.asked == ["install", "status", "status"]
    assert one._report.outcome == "committed"


def test_patience_ends_with_the_old_release_running(tmp_path: Path) -> None:
    one, line, _ = push(tmp_path, [])
    answers: list[tuple[str, object]] = []
    for _ in range(200):
        answers += [("install", LostError("gone", where="gate")), ("status", idle())]
    line._answers = answers
    with pytest.raises(LostError, match="before the device had begun; the old release runs"):
        one._install(None)
    assert 2 < len(line.asked) < 200
