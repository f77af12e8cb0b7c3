"""`vigil flash`, `rollback`, `status` from end to end: a real sshd, the real device program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bundles import tiny_bundle
from support.flash_device import FlashDevice, make_device, sshd
from support.small_bundles import ALARM

from engines.bundle import load_bundle, replace_alarm
from engines.model_spec import AlarmSpec
from engines.sign_bundle import sign_bundle
from engines.signing_keys import KeyFiles, create_key_pair, read_private_key


@pytest.fixture(scope="module")
def ssh_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sshd(tmp_path_factory.mktemp("sshd")) as config:
        yield config


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> KeyFiles:
    return create_key_pair(tmp_path_factory.mktemp("keys") / "maker")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, maker: KeyFiles) -> dict[int, Path]:
    """Signed bundles that really run, releases 5 and 6."""
    folder = tmp_path_factory.mktemp("bundles")
    first = tiny_bundle(folder / "tiny", workspace=folder)
    made = {}
    for release, threshold in ((5, 4.0), (6, 5.0)):
        root = folder / str(release)
        shutil.copytree(first.root, root)
        alarm = AlarmSpec.model_validate({**ALARM, "threshold": threshold})
        replace_alarm(load_bundle(root), alarm)
        sign_bundle(root, read_private_key(maker.private), release=release)
        made[release] = root
    return made


@pytest.fixture
def device(tmp_path: Path, ssh_config: Path, maker: KeyFiles) -> FlashDevice:
    made = make_device(tmp_path / "device", "gate-01", ssh_config)
    shutil.copy(maker.public, made.keys)
    return made


def test_from_nothing_to_a_second_release_and_back(
    device: FlashDevice, bundles: dict[int, Path]
) -> None:
    code, out, err = device.flash(bundles[5], "--json")
    assert code == 0, err
    (told,) = json.loads(out)["devices"]
    assert told["outcome"] == "committed"
    assert told["release"].startswith("5-")
    assert (device.home / "current/model.json").is_file()
    for words in ("golden answers reproduced", "no TensorRT here", "gate"):
        assert words in err, words
    assert device.flash(bundles[5])[0] == 0
    code, out, err = device.flash(bundles[6], "--json")
    assert code == 0, err
    (told,) = json.loads(out)["devices"]
    # Only what differs travelled: the alarm.
    assert 0 < told["sent_bytes"] < 1000
    reach = ("-F", device.ssh_config, "--program", device.program)
    code, out, err = device.vigil("status", device.target, *reach)
    assert code == 0, out + err
    assert "6-" in out
    assert "gate active" in out
    code, _, err = device.vigil("rollback", device.target, *reach)
    assert code == 0, err
    assert load_bundle(device.home / "current").manifest.release == 5


def test_a_bundle_that_does_not_start_is_taken_back_with_the_reason(
    device: FlashDevice, bundles: dict[int, Path]
) -> None:
    assert device.flash(bundles[5])[0] == 0
    device.sicken(load_bundle(bundles[6]).digest)
    code, out, err = device.flash(bundles[6], "--json")
    assert code == 65, err
    (told,) = json.loads(out)["devices"]
    assert told["outcome"] == "rolled_back"
    assert "a network gives other numbers" in told["reason"]
    assert load_bundle(device.home / "current").manifest.release == 5
    assert device.journal()["current"] == (device.home / "current").readlink().name
    assert device.journal()["trial"] is None
