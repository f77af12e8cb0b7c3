"""Progress is a bar on a terminal and plain lines in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trainer import progress
from trainer.progress import ConsoleTraining, SilentTraining


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    training = ConsoleTraining(Console(file=stream))
    training.begin("epoch 1", total=100)
    for _ in range(100):
        now[0] += 0.25
        training.advance(note="loss 3.1")
    training.end()
    training.say("done [bold]as it is[/bold]")
    assert stream.getvalue().splitlines() == [
        "epoch 1: 40 of 100 loss 3.1",
        "epoch 1: 80 of 100 loss 3.1",
        "done [bold]as it is[/bold]",
    ]


def test_a_terminal_gets_a_bar_and_keeps_what_is_said() -> None:
    stream = io.StringIO()
    training = ConsoleTraining(Console(file=stream, force_terminal=True, width=80))
    training.begin("first", total=2)
    training.advance()
    training.begin("second", total=1)  # ends the first
    training.say("kept")
    training.end()
    training.end()
    assert "kept" in stream.getvalue()
    assert "second" in stream.getvalue()


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    silent = SilentTraining()
    silent.begin("x", total=1)
    silent.advance()
    silent.say("x")
    silent.end()
    assert capsys.readouterr() == ("", "")
