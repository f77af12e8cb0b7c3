"""A machine of the boards' kind, 64-bit ARM, from bare to the first event.

It runs with VIGIL_DEVICE_TESTS=arm alone: its disk takes long to make, and all of it is emulated.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.broker import wait_until
from support.ground.commands import CommandError, told_how_long
from support.ground.device import tell_of
from support.ground.image import copy_disk
from support.ground.kernel_image import kernel_image
from support.ground.network import Network
from support.ground.provisioning import provision
from support.ground.qemu import QemuDevice
from support.ground.service import require_whole, wait_until_well
from support.ground.wheels import wheelhouse
from support.ground.workstation import Workstation

MACHINE = "aarch64"


@pytest.mark.device_arm
def test_a_64_bit_arm_machine_is_provisioned_flashed_and_heard(
    folder: Path, network: Network, desk: Workstation, first_bundle: Path
) -> None:
    try:
        with told_how_long("image"):
            image = kernel_image(MACHINE)
    except CommandError as error:
        pytest.skip(f"no image of such a machine can be made here: {error}")
    with told_how_long("wheels"):
        wheels = wheelhouse(MACHINE)
    copy_disk(image.disk, folder / "disk.img")
    with QemuDevice(folder, network=network, image=image) as machine:
        try:
            with told_how_long("boot"):
                machine.start()
            assert machine.run("uname", "-m").stdout.strip() == MACHINE
            with told_how_long("provision"):
                provision(desk, machine, wheels=wheels)
            with told_how_long("flash"):
                desk.flash(first_bundle, machine)
            wait_until_well(machine)
            with told_how_long("an event"), desk.listener() as heard:
                wait_until(
                    lambda: {"start", "end"} <= {event["phase"] for event in heard.events()},
                    timeout_s=120 * machine.stretch,
                    what="an event that starts and ends",
                )
            assert require_whole(machine)
            machine.stop()
        finally:
            tell_of(machine)
