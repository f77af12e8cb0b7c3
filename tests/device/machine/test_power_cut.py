"""Power cuts of a machine whose drive has a volatile cache: what was not flushed is lost.

VIGIL_VM_CUTS sets how many cuts in a flash, VIGIL_SEED which; both are printed.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from support.broker import wait_until
from support.ground.commands import told_how_long
from support.ground.cuts import cut_in_flash, cut_while_writing, require_no_loss, waiting
from support.ground.image import copy_disk
from support.ground.kernel_image import KernelImage
from support.ground.network import Network
from support.ground.qemu import Drive, QemuDevice
from support.ground.service import require_whole, running, wait_until_well
from support.ground.workstation import Workstation

pytestmark = pytest.mark.device_vm
CUTS = int(os.environ.get("VIGIL_VM_CUTS", "2"))
WRITING_S = 15.0


@pytest.mark.parametrize("drive", ["honest", "lying"])
def test_what_was_synced_is_kept_unless_the_drive_lies(
    folder: Path, network: Network, bare_machine: KernelImage, drive: Drive
) -> None:
    """The lying drive is the control of every cut here: it shows that a cut does lose."""
    copy_disk(bare_machine.disk, folder / "disk.img")
    with QemuDevice(folder, network=network, image=bare_machine) as machine:
        machine.drive = drive
        with told_how_long("boot"):
            machine.start()
        written = cut_while_writing(machine, network, "fsync", wait_s=WRITING_S)
    assert written.acknowledged > 1
    assert written.is_kept == (drive == "honest")


def test_a_power_cut_in_a_flash_leaves_old_or_new_whole_and_no_event_is_lost(
    machine: QemuDevice, desk: Workstation
) -> None:
    seed = int(os.environ.get("VIGIL_SEED", random.SystemRandom().randrange(10**6)))
    chance = random.Random(seed)
    began_s = time.monotonic()
    desk.flash(desk.bundle(f"machine-measure-{seed}"), machine)
    takes_s = time.monotonic() - began_s
    print(f"seed {seed}; an undisturbed flash takes {takes_s:.1f} s")
    # It was said to be committed, so it must be, whatever the drive had in its cache.
    committed = running(machine)
    with desk.listener() as heard:
        desk.broker.stop()
        try:
            wait_until(
                lambda: waiting(machine) >= 1, timeout_s=120 * machine.stretch, what="events"
            )
            held = waiting(machine)
            machine.cut_power()
        finally:
            with desk.network.on_workstation():
                desk.broker.start()
        machine.start()
        wait_until_well(machine)
        assert require_whole(machine) == committed
        wait_until(lambda: len(heard.events()) >= held, timeout_s=600, what="all that waited")

        outcomes = []
        for number in range(CUTS):
            bundle, wait_s = desk.bundle(f"machine-{seed}-{number}"), chance.uniform(0, takes_s)
            outcomes.append(cut_in_flash(machine, desk, bundle, wait_s=wait_s))
            print(f"cut {number}: {outcomes[-1]}")
        total = len(heard.events())
        wait_until(lambda: len(heard.events()) > total, timeout_s=600, what="more events")
        require_no_loss(heard)
