"""Signals of a running daemon, sent for real to this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from edge.cli import signals
from edge.cli.signals import Signals


class Told:
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def request_stop(self) -> None:
        self.asked.append("stop")

    def request_reload(self) -> None:
        self.asked.append("reload")


@pytest.fixture
def told() -> Iterator[Any]:
    before = {n: signal.getsignal(n) for n in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield Told()
    assert {number: signal.getsignal(number) for number in before} == before


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_each_signal_asks_for_what_it_stands_for(told: Any) -> None:
    with Signals(reloads=True) as caught:
        caught.attach(told)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            send(number)
    assert told.asked == ["reload", "stop", "stop"]


def test_a_reload_that_comes_too_early_is_done_later_and_kills_nobody(told: Any) -> None:
    with Signals(reloads=True) as caught:
        send(signal.SIGHUP)
        assert told.asked == []
        caught.attach(told)
    assert told.asked == ["reload"]


def test_without_a_file_there_is_nothing_to_read_again(told: Any) -> None:
    with Signals(reloads=False) as caught:
        caught.attach(told)
        send(signal.SIGHUP)
    assert told.asked == ["stop"]


def test_a_terminal_that_is_closed_ends_it(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = [True, False]
    monkeypatch.setattr(signals, "_has_terminal", lambda: terminal.pop(0))
    with Signals(reloads=True) as caught:
        caught.attach(told)
        send(signal.SIGHUP)
    assert told.asked == ["stop"]
