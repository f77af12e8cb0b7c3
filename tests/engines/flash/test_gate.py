"""The verdict on a release that was switched to, from what is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.flash.gate import Before, Gate, Patience
from engines.flash.services import Health, Standing

NEW, OLD = "n" * 64, "o" * 64
PATIENCE = Patience(ready_s=100, frames_s=30, steady_s=10)
HEALTH = Health(7, NEW, {"yard": 20, "door": 20}, frozenset({"yard", "door"}), connected=True)
WELL = Standing("active", "running", invocation="b", health=HEALTH, status="2/2 live")
BEFORE = Before(frozenset({"yard", "door"}), connected=True, invocation="a")


def gate(before: Before = BEFORE) -> Gate:
    return Gate(NEW, {"gate": before}, 0.0, PATIENCE)


def verdicts(one: Gate, *seen: tuple[float, Standing]) -> list[bool | None]:
    return [one.judge({"gate": standing}, now_s=now_s).well for now_s, standing in seen]


def test_it_must_be_well_for_a_while() -> None:
    starting = replace(WELL, active="activating", sub="start", health=None)
    seen = verdicts(gate(), (0, starting), (50, starting), (60, WELL), (69, WELL), (70, WELL))
    assert seen == [None, None, None, None, True]


def test_a_gap_starts_the_while_anew() -> None:
    away = replace(WELL, health=replace(HEALTH, live=frozenset({"yard"})))
    assert verdicts(gate(), (0, WELL), (5, away), (6, WELL), (15, WELL), (16, WELL)) == [
        *([None] * 4),
        True,
    ]


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (replace(WELL, active="failed", result="exit-code", exit_status=65), "exit code 65"),
        (replace(WELL, active="activating", sub="auto-restart", exit_status=70), "started again"),
        (replace(WELL, restarts=1), "started again"),
        (replace(WELL, active="inactive", condition=False, health=None), "a condition of its unit"),
    ],
)
def test_what_no_waiting_mends_ends_it_at_once(standing: Standing, words: str) -> None:
    verdict = gate().judge({"gate": standing}, now_s=1.0)
    assert verdict.well is False
    assert words in verdict.said


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (None, "tells nothing"),
        (replace(HEALTH, bundle=OLD), "runs bundle oooo"),
        (replace(HEALTH, live=frozenset({"yard"})), "no frames from door"),
        (replace(HEALTH, scores={"yard": 20, "door": 4}), "fewer than 5 frames of door"),
        (replace(HEALTH, connected=False), "no connection to the broker"),
    ],
)
def test_what_was_well_before_must_be_so_again_in_time(health: Health | None, words: str) -> None:
    one = gate()
    ill = replace(WELL, health=health, status="what it says")
    assert verdicts(one, (0, ill), (30, ill)) == [None, None]
    verdict = one.judge({"gate": ill}, now_s=31.0)
    assert verdict.well is False
    assert words in verdict.said
    assert "it says: what it says" in verdict.said


def test_it_is_not_ready_for_ever() -> None:
    starting = replace(WELL, active="activating", sub="start", health=None)
    assert verdicts(gate(), (100, starting), (101, starting)) == [None, False]


def test_the_process_of_before_proves_and_disproves_nothing() -> None:
    stale = replace(WELL, invocation="a")
    broken = replace(stale, active="failed")
    assert verdicts(gate(), (0, stale), (99, broken), (101, stale)) == [None, None, False]


def test_on_a_first_flash_no_camera_has_to_be_there_and_that_is_told() -> None:
    dark = replace(WELL, health=replace(HEALTH, live=frozenset(), scores={}, connected=False))
    one = gate(Before())
    assert verdicts(one, (0, dark)) == [None]
    verdict = one.judge({"gate": dark}, now_s=10.0)
    assert verdict.well
    assert "no camera gives frames" in verdict.notes[0]
    ended = replace(WELL, active="inactive", sub="dead", health=None)
    assert verdicts(gate(Before()), (0, ended), (10, ended)) == [None, True]


def test_without_a_daemon_nothing_is_tried_and_that_is_told() -> None:
    verdict = Gate(NEW, {}, 0.0, PATIENCE).judge({}, now_s=0.0)
    assert verdict.well
    assert "nothing was tried" in verdict.notes[0]
