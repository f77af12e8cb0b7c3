"""Booted devices for tests: one at a time, taken away whatever happens.

`pytest` runs a selection; what is marked `device_long` (takes long) or `device_vm` (an emulated
machine with a kernel of its own, takes very long) runs with VIGIL_DEVICE_TESTS=all, which `make
test-device` sets, and `device_arm` with VIGIL_DEVICE_TESTS=arm. Where this machine cannot boot
devices they are skipped, and the end of the run says so in a line of its own.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ground.commands import CommandError
from support.ground.device import tell_of
from support.ground.image import BareImage, bare_image, copy_disk
from support.ground.needs import why_no_device, why_no_machine
from support.ground.network import Network, left_behind
from support.ground.nspawn import NspawnDevice
from support.ground.provisioning import provision
from support.ground.service import wait_until_well
from support.ground.wheels import wheelhouse
from support.ground.workstation import Workstation, workstation

HERE = Path(__file__).parent
CHOICE = os.environ.get("VIGIL_DEVICE_TESTS", "")


@dataclass(frozen=True)
class Kind:
    """Tests of one mark.

    Attributes:
        choice: Value of VIGIL_DEVICE_TESTS with which they run; empty: always.
        why_not: What keeps this machine from running them.
        limit_s: Images and wheels are made on the first run, and other work may be in the way.
    """

    choice: str
    why_not: Callable[[], str | None]
    limit_s: float = 1800


PLAIN = Kind("", why_no_device)
KINDS = {
    "device_long": Kind("all", why_no_device),
    "device_vm": Kind("all", why_no_machine, 5400),
    "device_arm": Kind("arm", functools.partial(why_no_machine, "aarch64"), 7200),
}
NOT_BOOTED: set[str] = set()
"""Why; the end of the run repeats it, for a skipped test is easily overlooked."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    # Last: what they need may still be in the making (`python -m support.ground.prepare`).
    items[:] = [item for item in items if item not in ours] + ours
    for item in ours:
        kind = next((kind for mark, kind in KINDS.items() if item.get_closest_marker(mark)), PLAIN)
        item.add_marker(pytest.mark.device)
        item.add_marker(pytest.mark.timeout(kind.limit_s))
        if kind.choice not in {"", CHOICE}:
            reason = f"takes long: make test-device (VIGIL_DEVICE_TESTS={kind.choice})"
            item.add_marker(pytest.mark.skip(reason=reason))
        elif reason := kind.why_not():
            NOT_BOOTED.add(reason)
            item.add_marker(pytest.mark.skip(reason=f"no booted device: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in NOT_BOOTED:
        terminalreporter.write_line(
            f"WARNING: devices were not booted, so flashing is NOT proved by this run: {reason}",
            red=True,
            bold=True,
        )


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as joined:
        yield joined
    assert left_behind() == []


@pytest.fixture(scope="session")
def bare(network: Network) -> BareImage:
    """The image of a bare device, which boots here: nothing of vigil is in it."""
    try:
        image = bare_image()
        with tempfile.TemporaryDirectory(prefix="vigil-device-") as name:
            copy_disk(image.disk, Path(name, "disk.img"))
            with NspawnDevice(Path(name), network=network, image=image) as device:
                device.start()
    except (CommandError, pytest.fail.Exception) as error:
        reason = f"a bare Debian does not boot here: {error}"
        NOT_BOOTED.add(reason)
        pytest.skip(reason)
    return image


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a device's disk: gone after the test, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="vigil-device-") as name:
        yield Path(name)


@pytest.fixture
def device(folder: Path, network: Network, bare: BareImage) -> Iterator[NspawnDevice]:
    """A bare device, booted."""
    copy_disk(bare.disk, folder / "disk.img")
    with NspawnDevice(folder, network=network, image=bare) as booted:
        booted.start()
        try:
            yield booted
        finally:
            tell_of(booted)


@pytest.fixture(scope="session")
def desk(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workstation]:
    """A workstation with broker and camera, for the whole run."""
    with workstation(network, tmp_path_factory.mktemp("workstation")) as made:
        made.wheels = wheelhouse()
        yield made


@pytest.fixture(scope="session")
def first_bundle(desk: Workstation) -> Path:
    return desk.bundle("first")


@pytest.fixture(scope="session")
def provisioned_disk(network: Network, bare: BareImage, desk: Workstation) -> Iterator[Path]:
    """The disk of a device that was provisioned, and shut down."""
    with tempfile.TemporaryDirectory(prefix="vigil-device-") as name:
        disk = copy_disk(bare.disk, Path(name, "disk.img"))
        with NspawnDevice(Path(name), network=network, image=bare) as device:
            device.start()
            try:
                provision(desk, device)
                device.stop()
            finally:
                tell_of(device)
        yield disk


@pytest.fixture(scope="session")
def flashed_disk(
    network: Network,
    bare: BareImage,
    desk: Workstation,
    provisioned_disk: Path,
    first_bundle: Path,
) -> Iterator[Path]:
    """The disk of a device that runs the first bundle, and was shut down."""
    with tempfile.TemporaryDirectory(prefix="vigil-device-") as name:
        disk = copy_disk(provisioned_disk, Path(name, "disk.img"))
        with NspawnDevice(Path(name), network=network, image=bare) as device:
            device.start()
            try:
                desk.flash(first_bundle, device)
                wait_until_well(device)
                device.stop()
            finally:
                tell_of(device)
        yield disk


@pytest.fixture
def gate(
    folder: Path, network: Network, bare: BareImage, flashed_disk: Path, desk: Workstation
) -> Iterator[NspawnDevice]:
    """A device that runs the first bundle and is well."""
    copy_disk(flashed_disk, folder / "disk.img")
    with NspawnDevice(folder, network=network, image=bare) as booted:
        booted.start()
        try:
            wait_until_well(booted)
            yield booted
        finally:
            tell_of(booted)
