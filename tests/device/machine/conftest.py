"""Emulated machines: a kernel, a clock and a drive of their own, and much patience."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ground.commands import CommandError, told_how_long
from support.ground.device import tell_of
from support.ground.image import copy_disk
from support.ground.kernel_image import KernelImage, kernel_image
from support.ground.network import Network
from support.ground.provisioning import provision
from support.ground.qemu import QemuDevice
from support.ground.service import wait_until_well
from support.ground.workstation import Workstation


@pytest.fixture(scope="session")
def bare_machine() -> KernelImage:
    """The image of a machine that boots Debian's kernel: nothing of vigil is in it."""
    try:
        return kernel_image()
    except CommandError as error:
        pytest.skip(f"no image of a machine can be made here: {error}")


@pytest.fixture(scope="session")
def flashed_machine_disk(
    network: Network, bare_machine: KernelImage, desk: Workstation, first_bundle: Path
) -> Iterator[Path]:
    """The disk of a machine that was provisioned and runs the first bundle, and was shut down."""
    with tempfile.TemporaryDirectory(prefix="vigil-machine-") as name:
        disk = copy_disk(bare_machine.disk, Path(name, "disk.img"))
        with QemuDevice(Path(name), network=network, image=bare_machine) as machine:
            try:
                with told_how_long("boot"):
                    machine.start()
                with told_how_long("provision"):
                    provision(desk, machine)
                with told_how_long("flash"):
                    desk.flash(first_bundle, machine)
                wait_until_well(machine)
                with told_how_long("shut down"):
                    machine.stop()
            finally:
                tell_of(machine)
        yield disk


@pytest.fixture
def sleeping_machine(
    folder: Path, network: Network, bare_machine: KernelImage, flashed_machine_disk: Path
) -> Iterator[QemuDevice]:
    """A machine that has the first bundle and is off."""
    copy_disk(flashed_machine_disk, folder / "disk.img")
    with QemuDevice(folder, network=network, image=bare_machine) as machine:
        try:
            yield machine
        finally:
            tell_of(machine)


@pytest.fixture
def machine(sleeping_machine: QemuDevice) -> QemuDevice:
    """A machine that runs the first bundle and is well."""
    with told_how_long("boot"):
        sleeping_machine.start()
    wait_until_well(sleeping_machine)
    return sleeping_machine
