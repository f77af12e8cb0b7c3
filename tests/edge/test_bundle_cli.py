"""`vigil keys` and `vigil bundle` as a person uses them; which bundles a machine accepts."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.small_bundles import key_pair, signed, small_bundle

import edge.trust
from edge.cli.bundle import bundle
from edge.cli.keys import keys
from edge.config import config_from_text
from edge.launch import open_daemon
from edge.trust import open_bundle, trusted_keys
from engines.bundle import load_bundle, replace_alarm
from engines.errors import DataError, RefusedError, UsageError, VigilError

PROGRAM = """
import sys
import click
from edge.cli import main
from edge.cli.bundle import bundle
from edge.cli.keys import keys
main.vigil = click.Group(commands={"bundle": bundle, "keys": keys})
main.main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def no_device_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without keys of its own, whatever the machine of the tests has."""
    folder = tmp_path / "etc" / "trusted-keys.d"
    monkeypatch.setattr(edge.trust, "DEVICE_KEYS", folder)
    return folder


def vigil(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """In a process of its own, with the real exit code and streams."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def invoke(group: Any, *arguments: object) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def fails(result: Result, kind: type[VigilError], words: str) -> VigilError:
    assert isinstance(result.exception, kind), result.output
    assert words in str(result.exception)
    return result.exception


def test_from_new_key_to_verified_bundle_with_exit_codes(tmp_path: Path) -> None:
    root = small_bundle(tmp_path / "b").root
    code, out, _ = vigil("keys", "new", tmp_path / "maker")
    assert code == 0
    assert stat.S_IMODE((tmp_path / "maker.key").stat().st_mode) == 0o600
    secret = (tmp_path / "maker.key").read_text().splitlines()[1]
    code, signing, err = vigil("bundle", "sign", root, "--key", tmp_path / "maker.key")
    assert code == 0, err
    assert secret not in out + signing + err
    verify = ("bundle", "verify", root, "--trusted", tmp_path / "maker.pub")
    code, out, err = vigil(*verify)
    assert (code, err) == (0, "")
    assert out.startswith("verified: small, release ")
    (root / "networks/appearance.fp32.onnx").write_bytes(bytes(1000))
    code, out, err = vigil(*verify)
    assert (code, out) == (65, "")
    assert "hash" in err
    assert "mend:" in err
    (root / "manifest.sig").unlink()
    assert vigil(*verify)[0] == 77


def test_an_open_private_key_is_refused_with_the_mend(tmp_path: Path) -> None:
    root = small_bundle(tmp_path / "b").root
    pair, _ = key_pair(tmp_path)
    pair.private.chmod(0o644)
    told = fails(
        invoke(bundle, "sign", root, "--key", pair.private), RefusedError, "open to others"
    )
    assert f"chmod 600 {pair.private}" in str(told.mend)
    assert not (root / "manifest.sig").exists()


def test_a_passphrase_comes_from_a_prompt_or_a_file_and_never_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_bundle(tmp_path / "b").root
    made = CliRunner().invoke(
        keys, ["new", str(tmp_path / "maker"), "--passphrase"], input="sesam öffne\nsesam öffne\n"
    )
    assert made.exit_code == 0, made.output
    assert "sesam" not in made.output
    sign = ("bundle", "sign", root, "--key", tmp_path / "maker.key")
    code, _, err = vigil(*sign)
    assert code == 64
    assert "VIGIL_KEY_PASSPHRASE_FILE" in err
    for content, expected in (("sesam öffne\n", 0), ("wrong öffne\n", 65)):
        (tmp_path / "secret").write_text(content, encoding="utf-8")
        code, out, err = vigil(*sign, VIGIL_KEY_PASSPHRASE_FILE=str(tmp_path / "secret"))
        assert code == expected
        assert "öffne" not in out + err
    monkeypatch.setenv("VIGIL_KEY_PASSPHRASE_FILE", str(tmp_path / "none"))
    result = invoke(bundle, "sign", root, "--key", tmp_path / "maker.key")
    assert isinstance(result.exception, VigilError)


def test_verify_knows_what_is_installed(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    old = signed(tmp_path / "old", pair, release=4).root
    new = signed(tmp_path / "new", pair, release=5, seed=1).root
    trust = ("--trusted", pair.public)
    assert invoke(bundle, "verify", new, *trust, "--installed", old).exit_code == 0
    back = ("verify", old, *trust, "--installed", new)
    fails(invoke(bundle, *back), RefusedError, "release 4, release 5 is installed")
    assert invoke(bundle, *back, "--allow-downgrade").exit_code == 0


def test_verify_needs_a_key_from_somewhere(tmp_path: Path, no_device_keys: Path) -> None:
    pair, _ = key_pair(tmp_path)
    root = signed(tmp_path / "b", pair).root
    fails(invoke(bundle, "verify", root), UsageError, "no trusted key")
    no_device_keys.mkdir(parents=True)
    fails(invoke(bundle, "verify", root), RefusedError, "no key is trusted here")
    shutil.copy(pair.public, no_device_keys)
    assert invoke(bundle, "verify", root).exit_code == 0
    # A folder may be named as well as a file.
    assert invoke(bundle, "verify", root, "--trusted", no_device_keys).exit_code == 0


def test_show_tells_what_it_is_and_what_each_file_is_for(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    loaded = signed(tmp_path / "b", pair, release=7)
    shown = invoke(bundle, "show", loaded.root).output
    for words in (
        "small, release 7",
        loaded.digest,
        "vigil 0.1.0 or newer",
        f"by {pair.key_id}; not checked here",
        "appearance: appearance, network of 12 parameters (fp32), head mixture, weight 0.75",
        "motion: speed, no network",
        "above 4 for 3 frames",
        "extrapolated from 1.00 h",
        "golden inputs and outputs",
    ):
        assert words in shown, words
    data = json.loads(invoke(bundle, "show", loaded.root, "--json").output)
    assert data["manifest"]["release"] == 7
    assert data["signers"] == [pair.key_id]
    assert data["model"]["streams"][0]["weight"] == 0.75
    assert set(data["roles"]) >= {entry["role"] for entry in data["manifest"]["files"]}
    unsigned = small_bundle(tmp_path / "u").root
    assert "by nobody" in invoke(bundle, "show", unsigned).output


def test_a_bundle_cannot_steer_the_terminal(tmp_path: Path) -> None:
    def evil(raw: dict[str, Any]) -> None:
        raw["training"]["dataset"] = "\x1b[2J\nverified: all is well"
        raw["streams"][1]["input"]["kind"] = "\x1b]0;x\x07"

    root = small_bundle(tmp_path / "b", change=evil, alarm={"source": "\x1b[31m"}).root
    other = small_bundle(tmp_path / "o").root
    for arguments in (("show", root), ("diff", other, root)):
        result = invoke(bundle, *arguments)
        assert result.exit_code == 0
        assert "\x1b" not in result.output
        assert "\nverified" not in result.output


def test_diff_tells_weights_thresholds_streams_and_versions(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)

    def change(raw: dict[str, Any]) -> None:
        raw["streams"][0]["weight"] = 0.6
        raw["streams"][1]["name"] = "speed"
        raw["streams"][1]["weight"] = 0.4
        raw["fusion"]["top_cells"] = 3

    old = signed(tmp_path / "old", pair, release=4)
    new = signed(tmp_path / "new", pair, release=5, seed=1, change=change, alarm={"threshold": 5.0})
    told = invoke(bundle, "diff", old.root, new.root).output.splitlines()
    for line in (
        "version: release 4 -> release 5",
        "stream appearance weight: 0.75 -> 0.6",
        "stream motion: removed",
        "stream speed: added (speed, weight 0.4)",
        "fusion top_cells: 1 -> 3",
        "threshold: 4 -> 5 (+25.0%)",
        "network networks/appearance.fp32.onnx: other weights (1000 -> 1000 bytes)",
    ):
        assert line in told, line
    (means,) = [line for line in told if line.startswith("head ")]
    expected = abs(
        new.arrays("heads/appearance.npz")["means"] - old.arrays("heads/appearance.npz")["means"]
    ).max()
    assert means == f"head heads/appearance.npz: means by up to {expected:.3g}"
    same = invoke(bundle, "diff", old.root, old.root).output
    assert same == "no difference: both have the same content\n"


def test_diff_of_a_new_threshold_is_that_and_nothing_else(tmp_path: Path) -> None:
    old = small_bundle(tmp_path / "old")
    shutil.copytree(old.root, tmp_path / "new")
    assert old.alarm is not None
    replace_alarm(
        load_bundle(tmp_path / "new"), old.alarm.model_copy(update={"threshold": 3.0, "hours": 9.0})
    )
    told = invoke(bundle, "diff", old.root, tmp_path / "new").output.splitlines()
    rest = [line for line in told if not line.startswith("created: ")]
    assert rest == ["threshold: 4 -> 3 (-25.0%)", "alarm hours: 1 -> 9"]


def test_a_workstation_takes_unsigned_bundles_and_a_device_does_not(
    tmp_path: Path, no_device_keys: Path
) -> None:
    pair, _ = key_pair(tmp_path)
    unsigned = small_bundle(tmp_path / "unsigned").root
    good = signed(tmp_path / "good", pair).root
    assert open_bundle(unsigned).signed_by == ()
    assert open_bundle(good).signed_by == ()
    no_device_keys.mkdir(parents=True)
    for root in (unsigned, good):
        with pytest.raises(RefusedError, match="no key is trusted here"):
            open_bundle(root)
    shutil.copy(pair.public, no_device_keys)
    assert open_bundle(good).signed_by == (pair.key_id,)
    with pytest.raises(RefusedError, match="not signed"):
        open_bundle(unsigned)


def test_a_configuration_narrows_what_a_machine_trusts_and_never_widens_it(
    tmp_path: Path, no_device_keys: Path
) -> None:
    ours, _ = key_pair(tmp_path, "ours")
    theirs, _ = key_pair(tmp_path, "theirs")
    by_ours, by_theirs = (
        signed(tmp_path / f"by-{pair.private.stem}", pair).root for pair in (ours, theirs)
    )
    assert open_bundle(by_theirs, configured=theirs.public).signed_by
    with pytest.raises(RefusedError, match="trusted are"):
        open_bundle(by_ours, configured=theirs.public)
    no_device_keys.mkdir(parents=True)
    shutil.copy(ours.public, no_device_keys)
    with pytest.raises(RefusedError, match="no key is trusted here"):
        open_bundle(by_theirs, configured=theirs.public)
    shutil.copy(theirs.public, no_device_keys)
    assert open_bundle(by_ours).signed_by
    with pytest.raises(RefusedError, match="trusted are"):
        open_bundle(by_ours, configured=theirs.public)


def test_keys_that_cannot_be_looked_at_are_no_excuse(
    tmp_path: Path, no_device_keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_device_keys.parent.mkdir()
    no_device_keys.symlink_to(tmp_path / "nowhere")
    with pytest.raises(VigilError):
        trusted_keys()
    no_device_keys.unlink()
    assert trusted_keys() is None

    def denied(path: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(edge.trust.os, "lstat", denied)
    with pytest.raises(RefusedError, match="cannot see"):
        trusted_keys()


def test_run_refuses_an_unsigned_bundle_where_the_configuration_names_keys(
    tmp_path: Path, no_device_keys: Path
) -> None:
    pair, _ = key_pair(tmp_path)
    small_bundle(tmp_path / "bundle")
    text = (
        "schema_version: 1\nbundle: bundle\nstate: state\ntrusted_keys: maker.pub\n"
        "cameras: {yard: {source: clip}}\n"
    )
    config = config_from_text(text, file="gate.yaml", folder=tmp_path)
    assert config.trusted_keys == pair.public
    with pytest.raises(RefusedError, match="not signed"), open_daemon(config, clock=None):  # type: ignore[arg-type]  # refused before a clock is needed
        pass
    # Without the key in the configuration, the machine's folder says the same.
    config = config_from_text(
        text.replace("trusted_keys: maker.pub\n", ""), file="x", folder=tmp_path
    )
    no_device_keys.mkdir(parents=True)
    shutil.copy(pair.public, no_device_keys)
    with pytest.raises(RefusedError, match="not signed"), open_daemon(config, clock=None):  # type: ignore[arg-type]  # refused before a clock is needed
        pass


@pytest.mark.parametrize("command", ["bench", "engine"])
def test_the_other_commands_of_a_device_ask_the_same_question(
    tmp_path: Path, no_device_keys: Path, command: str
) -> None:
    from edge.cli.bench import bench_command  # noqa: PLC0415
    from edge.cli.engine import engine  # noqa: PLC0415

    pair, _ = key_pair(tmp_path)
    root = small_bundle(tmp_path / "b").root
    no_device_keys.mkdir(parents=True)
    shutil.copy(pair.public, no_device_keys)
    if command == "bench":
        fails(invoke(bench_command, root, "--source", "x"), RefusedError, "not signed")
    else:
        fails(invoke(engine, "build", root), RefusedError, "not signed")
        fails(invoke(engine, "check", root), RefusedError, "not signed")


def test_keys_show_names_keys(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    assert invoke(keys, "show", pair.public).output == f"{pair.key_id}  {pair.public}\n"
    fails(invoke(keys, "show", pair.private), DataError, "private key")
