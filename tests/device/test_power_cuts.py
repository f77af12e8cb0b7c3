"""Power cuts at random moments of a flash: old or new, whole; and no event is lost.

VIGIL_CUTS sets how many, VIGIL_SEED which; both are printed. `test_ground.py` holds the negative
control: on this very disk, a writer who does not sync loses.
"""

from __future__ import annotations

import os
import random
import time

import pytest
from support.broker import wait_until
from support.ground.cuts import cut_in_flash, require_no_loss, waiting
from support.ground.device import Device
from support.ground.nspawn import NspawnDevice
from support.ground.service import shown, wait_until_well
from support.ground.workstation import UNIT, Workstation

CUTS = int(os.environ.get("VIGIL_CUTS", "30"))
FEW = 3


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
            bundle, wait_s = desk.bundle(f"cut-{seed}-{number}"), chance.uniform(0, takes_s)
            outcomes.append(cut_in_flash(gate, desk, bundle, wait_s=wait_s))
            print(f"cut {number}: {outcomes[-1]}")
        total = len(heard.events())
        wait_until(lambda: len(heard.events()) > total + 2, timeout_s=120, what="more events")
        require_no_loss(heard)
    assert {outcome for _, outcome in outcomes} <= {"old", "new"}


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


def test_a_crash_of_everything_is_survived_too(gate: NspawnDevice) -> None:
    """PID 1 is killed: no shutdown, but what was written stays."""
    gate.kill()
    gate.start()
    wait_until_well(gate)
    assert shown(gate, "ActiveState", unit=UNIT)["ActiveState"] == "active"
