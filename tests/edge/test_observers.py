"""Observers that fail: who is left out, who ends the daemon, and from which thread."""

from __future__ import annotations

import threading

import pytest

from edge.announcer import Announcer
from edge.observer import Observer, Observers
from engines.errors import InternalError


class Failing(Observer):
    def __init__(self, *, vital: bool = False, meet: threading.Barrier | None = None) -> None:
        self.vital = vital
        self.calls = 0
        self._meet = meet

    def turned(self) -> None:
        self.calls += 1
        if self._meet is not None:
            self._meet.wait(10)
        raise RuntimeError("a bug")


class Counting(Observer):
    calls = 0

    def turned(self) -> None:
        self.calls += 1


def test_one_that_fails_is_told_nothing_more_and_the_others_are() -> None:
    failing, counting = Failing(), Counting()
    observers = Observers([failing, counting])
    for _ in range(3):
        observers.tell(lambda one: one.turned())
    assert (failing.calls, counting.calls) == (1, 3)


def test_a_vital_one_that_fails_is_an_error_of_the_daemon() -> None:
    observers = Observers([Failing(vital=True)])
    with pytest.raises(InternalError, match="Failing has failed: a bug"):
        observers.tell(lambda one: one.turned())


def test_the_retained_topics_are_vital() -> None:
    # Without them a camera that was live would be told as live for ever.
    assert Announcer.vital


def test_one_may_fail_in_two_threads_at_once() -> None:
    meet = threading.Barrier(2)
    observers = Observers([Failing(meet=meet)])
    errors: list[BaseException] = []

    def tell() -> None:
        try:
            observers.tell(lambda one: one.turned())
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert errors == []
