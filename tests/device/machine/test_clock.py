"""A machine whose clock is years wrong when it boots: nothing but what people read may notice."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import Subscriber, wait_until
from support.ground.cuts import require_no_loss, waiting
from support.ground.qemu import QemuDevice
from support.ground.service import main_pid, running, wait_until_well
from support.ground.workstation import UNIT, Workstation

pytestmark = pytest.mark.device_vm
UTC = datetime.timezone.utc
YEAR_S = 365 * 24 * 3600.0
# Between a look at this machine's clock and one at the other's, and of a slow machine's waiting.
NEAR_S = 600.0

# Sets the clock, and tells the kernel that it is right, as a time service does.
SET_CLOCK = """
import ctypes, struct, sys, time
time.clock_settime(time.CLOCK_REALTIME, float(sys.argv[1]))
MAXERROR, ESTERROR, STATUS, PLL = 0x4, 0x8, 0x10, 0x1
timex = struct.pack("Ixxxx4qi", MAXERROR | ESTERROR | STATUS, 0, 0, 1000, 1000, PLL)
code = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(timex + bytes(400)))
sys.exit(code not in range(5))
"""


def test_a_clock_years_behind(sleeping_machine: QemuDevice, desk: Workstation) -> None:
    machine = sleeping_machine
    machine.clock = datetime.datetime(1999, 12, 31, tzinfo=UTC)
    machine.start()
    with desk.listener() as heard:
        wait_until_well(machine)
        behind_s = time.time() - clock_of(machine)
        print(f"behind by {behind_s / YEAR_S:.1f} years: systemd begins with its own release")
        assert behind_s > NEAR_S
        # An older one begins earlier.
        machine.run("date", "--set", "2001-09-09 01:46:40")
        machine.run("systemctl", "restart", UNIT)
        wait_until_well(machine)
        assert clock_of(machine) < time.time() - 10 * YEAR_S
        event = next_event(heard, machine)
        assert event["clock"] == "unsynced"
        assert seconds_between(event, clock_of(machine)) < NEAR_S

        # The signature of a bundle that is younger than the clock says that it can be.
        before = running(machine)
        desk.flash(desk.bundle("from-the-future"), machine)
        assert running(machine) != before

        # What was made with the wrong clock and has not been sent is put right before it is.
        pid = main_pid(machine)
        with broker_away(desk, machine, heard):
            wait_until(
                lambda: waiting(machine) >= 1, timeout_s=120 * machine.stretch, what="events"
            )
            total = len(heard.events())
            set_clock(machine)
        wait_until(lambda: len(heard.events()) > total, timeout_s=600, what="what waited")
        for late in heard.events()[total:]:
            assert late["clock"] == "synced"
            assert seconds_between(late, time.time()) < NEAR_S
        assert main_pid(machine) == pid  # the jump by years was no reason to be started anew
        require_no_loss(heard)
    assert "Watchdog timeout" not in machine.journal("-u", UNIT)


def test_a_clock_years_ahead(sleeping_machine: QemuDevice, desk: Workstation) -> None:
    machine = sleeping_machine
    # systemd believes no clock that is more than 15 years ahead of its own release.
    machine.clock = datetime.datetime(2040, 1, 1, tzinfo=UTC)
    machine.start()
    with desk.listener() as heard:
        wait_until_well(machine)
        assert clock_of(machine) > time.time() + 10 * YEAR_S
        event = next_event(heard, machine)
        assert event["clock"] == "unsynced"
        assert seconds_between(event, clock_of(machine)) < NEAR_S
        assert 0 <= event["duration_s"] < NEAR_S
        before = running(machine)
        desk.flash(desk.bundle("from-the-past"), machine)
        assert running(machine) != before
        pid = main_pid(machine)
        set_clock(machine)
        event = next_event(heard, machine, clock="synced")
        assert seconds_between(event, time.time()) < NEAR_S
        assert main_pid(machine) == pid
        require_no_loss(heard)
    assert "Watchdog timeout" not in machine.journal("-u", UNIT)


@contextlib.contextmanager
def broker_away(desk: Workstation, machine: QemuDevice, heard: Subscriber) -> Iterator[None]:
    """While this lasts there is no broker; when it is back, it is the listener that it has first.

    A broker hands what arrives to those who listen, and forgets it.
    """
    desk.broker.stop()
    try:
        yield
        desk.network.unplug(machine.number)
    finally:
        with desk.network.on_workstation():
            desk.broker.start()
        ready = heard.ready.wait(60)
        desk.network.plug(machine.number)
    assert ready


def next_event(heard: Subscriber, machine: QemuDevice, *, clock: str = "") -> dict[str, Any]:
    """A message that has not been heard yet."""
    known = len(heard.events())

    def fresh() -> list[dict[str, Any]]:
        return [event for event in heard.events()[known:] if clock in {"", event["clock"]}]

    wait_until(fresh, timeout_s=120 * machine.stretch, what=f"an event {clock}")
    return fresh()[0]


def set_clock(machine: QemuDevice) -> None:
    machine.run("python3", "-c", SET_CLOCK, str(time.time()))
    assert abs(clock_of(machine) - time.time()) < NEAR_S


def clock_of(machine: QemuDevice) -> float:
    return float(machine.run("date", "+%s").stdout)


def seconds_between(event: dict[str, Any], now_s: float) -> float:
    """Between the wall time that an event tells and another."""
    return abs(datetime.datetime.fromisoformat(event["at"]).timestamp() - now_s)
