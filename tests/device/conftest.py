"""Booted devices for tests: one at a time, taken away whatever happens.

`pytest` runs a short selection; what is marked `device_long` or `machine` runs with
VIGIL_DEVICE_TESTS=all, which `make test-device` sets. Where this machine cannot boot devices they
are skipped, and the end of the run says so in a line of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ground.device import Device
from support.ground.image import BareImage, bare_image, copy_disk
from support.ground.needs import why_no_device, why_no_machine
from support.ground.network import Network, left_behind

HERE = Path(__file__).parent
ALL = os.environ.get("VIGIL_DEVICE_TESTS") == "all"
# Images and wheels are made on the first run, and other work may slow the machine down.
TIMEOUT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.device)
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        whole_machine = item.get_closest_marker("machine") is not None
        if not ALL and (whole_machine or item.get_closest_marker("device_long") is not None):
            item.add_marker(pytest.mark.skip(reason="takes long: make test-device"))
        elif reason := why_no_machine() if whole_machine else why_no_device():
            item.add_marker(pytest.mark.skip(reason=f"no booted device: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reason = why_no_device()
    if reason is not None and os.environ.get("CI") == "true":
        terminalreporter.write_line(
            f"WARNING: no device was booted, so flashing is NOT proved by this run: {reason}",
            red=True,
            bold=True,
        )


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as joined:
        yield joined
    assert left_behind() == []


@pytest.fixture(scope="session")
def bare() -> BareImage:
    return bare_image()


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a device's disk: gone after the test, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="vigil-device-") as name:
        yield Path(name)


@pytest.fixture
def device(folder: Path, network: Network, bare: BareImage) -> Iterator[Device]:
    """A bare device, booted."""
    copy_disk(bare.disk, folder / "disk.img")
    with Device(folder, network=network, image=bare) as booted:
        booted.start()
        yield booted
        tell_of(booted)


def tell_of(device: Device) -> None:
    """What pytest shows if the test has failed."""
    print(device.console_tail())
    if device.is_on:
        print(device.run("journalctl", "--no-pager", "-n", "60", "-o", "short", check=False).stdout)
