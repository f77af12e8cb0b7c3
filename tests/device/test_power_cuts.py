"""Power cuts at random moments of a flash: old or new, whole; and no event is lost.

VIGIL_CUTS sets how many, VIGIL_SEED which; both are printed. `test_ground.py` holds the negative
control: on this very disk, a writer who does not sync loses.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest
from support.broker import Subscriber, wait_until
from support.ground.device import Device
from support.ground.service import (
    health,
    journal,
    require_whole,
    running,
    shown,
    wait_until_well,
)
from support.ground.workstation import UNIT, Workstation

CUTS = int(os.environ.get("VIGIL_CUTS", "30"))
FEW = 3


@pytest.mark.device_long
def test_power_cuts_in_a_flash_leave_old_or_new_whole(gate: Device, desk: Workstation) -> None:
    cut_often(gate, desk, cuts=FEW)


@pytest.mark.device_long
def test_many_power_cuts_in_a_flash_leave_old_or_new_whole(gate: Device, desk: Workstation) -> None:
    cut_often(gate, desk, cuts=CUTS)


def cut_often(gate: Device, desk: Workstation, *, cuts: int) -> None:
    seed = int(os.environ.get("VIGIL_SEED", random.SystemRandom().randrange(10**6)))
    chance = random.Random(seed)
    began_s = time.monotonic()
    desk.flash(desk.bundle(f"measure-{seed}-{cuts}"), gate)
    takes_s = time.monotonic() - began_s
    print(f"seed {seed}; an undisturbed flash takes {takes_s:.1f} s")
    outcomes = []
    with desk.listener() as heard:
        for number in range(cuts):
            outcomes.append(cut_once(gate, desk, chance.uniform(0, takes_s), f"{seed}-{number}"))
            print(f"cut {number}: {outcomes[-1]}")
        total = len(heard.events())
        wait_until(lambda: len(heard.events()) > total + 2, timeout_s=120, what="more events")
        require_no_loss(heard)
    assert {outcome for _, outcome in outcomes} <= {"old", "new"}


def cut_once(gate: Device, desk: Workstation, wait_s: float, name: str) -> tuple[float, str]:
    """Flash, cut power after a while, boot; which release runs."""
    old = running(gate)
    bundle = desk.bundle(f"cut-{name}")
    flash = desk.start_vigil(*desk.flash_arguments(bundle, gate), "--patient-seconds", "1")
    time.sleep(wait_s)
    gate.cut_power()
    flash.kill()
    flash.communicate()
    gate.start()
    wait_until_well(gate)
    wait_until(lambda: journal(gate)["trial"] is None, timeout_s=180, what="an end of the trial")
    wait_until_well(gate)
    now = require_whole(gate)
    assert now == journal(gate)["current"]
    return round(wait_s, 1), "old" if now == old else "new"


def require_no_loss(heard: Subscriber) -> None:
    """Numbers without a jump, and one number never stands for two messages.

    A message that was acknowledged to the daemon (committed to the outbox) and then lost would
    leave a jump, or its number would be given to another one.
    """
    by_key: dict[tuple[str, int], dict[str, Any]] = {}
    for event in heard.events():
        known = by_key.setdefault((event["stream_id"], event["seq"]), event)
        assert (known["id"], known["phase"], known["rev"]) == (
            event["id"],
            event["phase"],
            event["rev"],
        )
    assert len({stream for stream, _ in by_key}) == 1
    numbers = sorted(number for _, number in by_key)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.device_long
def test_events_that_wait_for_a_broker_survive_a_power_cut(gate: Device, desk: Workstation) -> None:
    with desk.listener() as heard:
        desk.broker.stop()
        try:
            wait_until(lambda: waiting(gate) >= 4, timeout_s=180, what="events in the outbox")
            held = waiting(gate)
            gate.cut_power()
        finally:
            with desk.network.on_workstation():
                desk.broker.start()
        gate.start()
        wait_until_well(gate)
        wait_until(lambda: len(heard.events()) >= held, timeout_s=120, what="all that waited")
        wait_until(lambda: waiting(gate) == 0, timeout_s=60, what="an empty outbox")
        require_no_loss(heard)


def waiting(gate: Device) -> int:
    told = health(gate)
    return 0 if told is None else int(told["outbox"])


@pytest.mark.device_long
def test_a_crash_of_everything_is_survived_too(gate: Device) -> None:
    """PID 1 is killed: no shutdown, but what was written stays."""
    gate.kill()
    gate.start()
    wait_until_well(gate)
    assert shown(gate, "ActiveState", unit=UNIT)["ActiveState"] == "active"
