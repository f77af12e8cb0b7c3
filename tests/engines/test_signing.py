"""Keys, signatures and who is trusted: against RFC 8032 and a second implementation."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from support import ed25519_rfc8032
from support.small_bundles import key_pair, signed, small_bundle

from engines.bundle import load_bundle, replace_alarm
from engines.bundle_check import check_bundle, read_manifest
from engines.errors import (
    CannotCreateError,
    DataError,
    InputMissingError,
    RefusedError,
    UsageError,
)
from engines.manifest import decode_manifest
from engines.release import release_now, require_rising, require_runtime
from engines.sign_bundle import sign_bundle
from engines.signature import decode_signatures, encode_signatures, require_signature
from engines.signing_keys import create_key_pair, key_id, read_private_key, read_public_key
from engines.trusted_keys import TrustedKeys, read_trusted

# RFC 8032, section 7.1, TEST 2.
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def raw_public(path: Path) -> bytes:
    return read_public_key(path).public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )


def test_the_second_implementation_knows_the_vector_of_the_rfc() -> None:
    assert ed25519_rfc8032.verify(RFC_PUBLIC, b"\x72", RFC_SIGNATURE)
    assert not ed25519_rfc8032.verify(RFC_PUBLIC, b"\x73", RFC_SIGNATURE)


def test_a_signature_is_what_the_rfc_says_over_the_documented_bytes(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    root = signed(tmp_path / "b", pair).root
    header, line, rest = (root / "manifest.sig").read_bytes().split(b"\n")
    assert (header, rest) == (b"vigil-signatures-v1", b"")
    signature = decode_signatures((root / "manifest.sig").read_bytes(), where="x")[pair.key_id]
    manifest = (root / "manifest.json").read_bytes()
    assert line.startswith(f"ed25519 {pair.key_id} ".encode())
    public = raw_public(pair.public)
    assert ed25519_rfc8032.verify(public, b"vigil-bundle-v1\n" + manifest, signature)
    assert not ed25519_rfc8032.verify(public, manifest, signature)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command here")
def test_key_files_are_what_openssl_reads(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    private = subprocess.run(
        ["openssl", "pkey", "-in", pair.private, "-pubout"], capture_output=True, check=True
    )
    assert private.stdout == pair.public.read_bytes()


def test_a_new_pair_has_safe_modes_under_any_umask_and_overwrites_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pair, _ = key_pair(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.public.stat().st_mode) == 0o644
    assert key_id(read_private_key(pair.private).public_key()) == pair.key_id
    content = pair.private.read_bytes()
    with pytest.raises(CannotCreateError, match="exists already"):
        create_key_pair(tmp_path / "maker")
    pair.private.unlink()
    with pytest.raises(CannotCreateError, match=r"maker\.pub exists"):
        create_key_pair(tmp_path / "maker")
    assert not pair.private.exists()
    assert content
    with pytest.raises(CannotCreateError, match="cannot write"):
        create_key_pair(tmp_path / "nowhere" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_private_key_that_others_can_reach_is_refused_with_the_mend(
    tmp_path: Path, mode: int
) -> None:
    pair, _ = key_pair(tmp_path)
    pair.private.chmod(mode)
    with pytest.raises(RefusedError, match=f"mode {mode:04o}") as told:
        read_private_key(pair.private)
    assert told.value.mend is not None
    assert f"chmod 600 {pair.private}" in told.value.mend


def test_keys_of_somebody_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, _ = key_pair(tmp_path)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for path in (pair.private, pair.public):
        os.chown(path, 12345, -1)
    with pytest.raises(RefusedError, match="another user"):
        read_private_key(pair.private)
    with pytest.raises(RefusedError, match="another user"):
        read_public_key(pair.public)


def test_a_passphrase_protects_the_key(tmp_path: Path) -> None:
    pair = create_key_pair(tmp_path / "k", passphrase=b"correct horse")
    assert b"ENCRYPTED" in pair.private.read_bytes()
    key = read_private_key(pair.private, passphrase=b"correct horse")
    assert key_id(key.public_key()) == pair.key_id
    with pytest.raises(UsageError, match="passphrase"):
        read_private_key(pair.private)
    with pytest.raises(DataError, match="passphrase is wrong"):
        read_private_key(pair.private, passphrase=b"battery staple")
    plain, _ = key_pair(tmp_path)
    read_private_key(plain.private, passphrase=b"not needed")


def test_what_is_no_key_is_told_and_never_shown(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    secret = pair.private.read_bytes()
    wrong = {b"", b"\x00" * 100, other, secret[:-40], secret.replace(b"PRIVATE", b"PUBLIC")}
    for number, data in enumerate(wrong):
        path = tmp_path / f"wrong{number}"
        path.write_bytes(data)
        path.chmod(0o600)
        for read in (read_private_key, read_public_key):
            with pytest.raises(DataError) as told:
                read(path)
            assert secret[40:60].decode() not in str(told.value)
    with pytest.raises(DataError, match="this is a private key"):
        read_public_key(pair.private)
    with pytest.raises(InputMissingError):
        read_private_key(tmp_path / "none")
    large = tmp_path / "large"
    large.write_bytes(b"x" * 10_000)
    large.chmod(0o600)
    with pytest.raises(DataError, match="at most"):
        read_private_key(large)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(DataError, match="regular"):
        read_private_key(tmp_path / "pipe")


def test_signing_gives_a_release_and_changes_nothing_else(tmp_path: Path) -> None:
    pair, trusted = key_pair(tmp_path)
    before = small_bundle(tmp_path / "b")
    assert before.manifest.release is None
    first = release_now()
    manifest = sign_bundle(before.root, read_private_key(pair.private))
    assert manifest.release is not None
    assert first <= manifest.release <= release_now()
    after = load_bundle(before.root, trusted=trusted)
    assert after.signed_by == (pair.key_id,)
    assert (after.model, after.alarm) == (before.model, before.alarm)
    assert after.manifest.files == before.manifest.files
    assert after.manifest == manifest
    # The number stays when it is signed again, and the bytes with it: Ed25519 is deterministic.
    data = (before.root / "manifest.sig").read_bytes()
    assert sign_bundle(before.root, read_private_key(pair.private)) == manifest
    assert (before.root / "manifest.sig").read_bytes() == data


def test_a_key_is_rolled_without_a_moment_of_no_trust(tmp_path: Path) -> None:
    old, trusts_old = key_pair(tmp_path, "old")
    new, trusts_new = key_pair(tmp_path, "new")
    root = signed(tmp_path / "b", old).root
    sign_bundle(root, read_private_key(new.private))
    folder = tmp_path / "trusted"
    folder.mkdir()
    for pair in (old, new):
        shutil.copy(pair.public, folder)
    both = read_trusted([folder])
    assert set(both.keys) == {old.key_id, new.key_id}
    assert check_bundle(root, trusted=trusts_old).signed_by == (old.key_id,)
    assert check_bundle(root, trusted=trusts_new).signed_by == (new.key_id,)
    assert set(check_bundle(root, trusted=both).signed_by) == {old.key_id, new.key_id}
    # A new release drops the signature of the key that did not sign it.
    sign_bundle(root, read_private_key(new.private), release=9)
    check_bundle(root, trusted=trusts_new)
    with pytest.raises(RefusedError, match=f"signed by {new.key_id}"):
        check_bundle(root, trusted=trusts_old)


def test_one_bad_signature_by_a_trusted_key_is_a_refusal(tmp_path: Path) -> None:
    first, _ = key_pair(tmp_path, "first")
    second, _ = key_pair(tmp_path, "second")
    root = signed(tmp_path / "b", first).root
    sign_bundle(root, read_private_key(second.private))
    signatures = decode_signatures((root / "manifest.sig").read_bytes(), where="x")
    signatures[first.key_id] = bytes(64)
    (root / "manifest.sig").write_bytes(encode_signatures(signatures))
    with pytest.raises(RefusedError, match=f"key {first.key_id} does not fit"):
        check_bundle(root, trusted=read_trusted([first.public, second.public]))


def test_a_changed_bundle_is_unsigned_again(tmp_path: Path) -> None:
    pair, trusted = key_pair(tmp_path)
    bundle = signed(tmp_path / "b", pair)
    assert bundle.alarm is not None
    replace_alarm(bundle, bundle.alarm.model_copy(update={"threshold": 1.0}))
    assert not (bundle.root / "manifest.sig").exists()
    assert load_bundle(bundle.root).manifest.release is None
    with pytest.raises(RefusedError, match="not signed"):
        load_bundle(bundle.root, trusted=trusted)


def test_a_bundle_that_is_not_whole_is_not_signed(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    root = small_bundle(tmp_path / "b").root
    key = read_private_key(pair.private)
    (root / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="does not list"):
        sign_bundle(root, key)
    (root / "notes.txt").unlink()
    (root / "networks/appearance.fp32.onnx").write_bytes(b"other")
    with pytest.raises(DataError, match="bytes, the manifest says"):
        sign_bundle(root, key)
    assert not (root / "manifest.sig").exists()


def test_trusted_folders_must_be_safe_and_wholly_good(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    folder = tmp_path / "trusted"
    folder.mkdir()
    assert read_trusted([folder]).keys == {}
    shutil.copy(pair.public, folder)
    (folder / "README").write_text("not a key, and not read")
    assert set(read_trusted([folder]).keys) == {pair.key_id}
    for path, safe in ((folder, 0o755), (folder / "maker.pub", 0o644)):
        for loose in (0o020, 0o002):
            path.chmod(safe | loose)
            with pytest.raises(RefusedError, match="changed by others") as told:
                read_trusted([folder])
            assert told.value.mend == f"chmod go-w {path}"
        path.chmod(safe)
    (folder / "broken.pub").write_text("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(DataError, match="no Ed25519 public key"):
        read_trusted([folder])
    (folder / "broken.pub").unlink()
    for number in range(33):
        shutil.copy(pair.public, folder / f"{number}.pub")
    with pytest.raises(RefusedError, match="too many"):
        read_trusted([folder])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[:0],
        lambda d: d[:20],
        lambda d: d.replace(b"-v1", b"-v2"),
        lambda d: d + d.split(b"\n")[1] + b"\n",
        lambda d: d[:-1],
        lambda d: d + b"\n",
        lambda d: d.replace(b"ed25519", b"rsa"),
        lambda d: d.replace(b"==\n", b"==\r\n"),
        lambda d: d.replace(b"==", b"A="),
        lambda d: d * 100,
        lambda d: d.upper(),
    ],
)
def test_signature_files_of_another_form_are_refused(tmp_path: Path, spoil: object) -> None:
    pair, trusted = key_pair(tmp_path)
    root = signed(tmp_path / "b", pair).root
    assert callable(spoil)
    (root / "manifest.sig").write_bytes(spoil((root / "manifest.sig").read_bytes()))
    with pytest.raises(DataError, match="no list of signatures"):
        check_bundle(root, trusted=trusted)


def test_spare_bits_of_base64_are_no_second_spelling(tmp_path: Path) -> None:
    signatures = {"0" * 16: bytes(64)}
    data = encode_signatures(signatures)
    assert decode_signatures(data, where="x") == signatures
    with pytest.raises(DataError):
        decode_signatures(data.replace(b"A==", b"B=="), where="x")


def test_without_any_trusted_key_nothing_is_accepted(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    root = signed(tmp_path / "b", pair).root
    with pytest.raises(RefusedError, match="no key is trusted here"):
        check_bundle(root, trusted=TrustedKeys({}, "/etc/x"))
    with pytest.raises(RefusedError, match="not signed"):
        require_signature(b"x", None, key_pair(tmp_path, "k")[1], where="x")


def test_releases_only_rise_unless_asked(tmp_path: Path) -> None:
    pair, _ = key_pair(tmp_path)
    numbers = {n: signed(tmp_path / str(n), pair, release=n).manifest for n in (4, 5)}
    other = signed(tmp_path / "other", pair, release=5, seed=1).manifest
    unsigned = small_bundle(tmp_path / "unsigned").manifest
    require_rising(numbers[5], numbers[4], where="x")
    require_rising(numbers[5], numbers[5], where="x")
    require_rising(numbers[4], unsigned, where="x")
    for new, installed, why in (
        (numbers[4], numbers[5], "release 4, release 5 is installed"),
        (unsigned, numbers[5], "release 0, release 5 is installed"),
        (other, numbers[5], "not the same bundle"),
    ):
        with pytest.raises(RefusedError, match=why) as told:
            require_rising(new, installed, where="x")
        assert "--allow-downgrade" in str(told.value.mend)
        require_rising(new, installed, where="x", allow_downgrade=True)


def test_a_bundle_for_a_newer_vigil_says_so(tmp_path: Path) -> None:
    manifest = small_bundle(tmp_path / "b").manifest
    for running in ("0.1.0", "0.1", "0.1.1.dev3", "0.10", "1"):
        require_runtime(manifest.model_copy(update={"minimum_runtime": "0.1"}), where="x",
                        running=running)  # fmt: skip
    for needed, running in (("0.2", "0.1.9"), ("0.10.0", "0.9.9"), ("1", "0.99")):
        with pytest.raises(DataError, match=f"needs vigil {needed}"):
            require_runtime(
                manifest.model_copy(update={"minimum_runtime": needed}), where="x", running=running
            )
    newer = manifest.model_copy(update={"minimum_runtime": "99.0"})
    (tmp_path / "b" / "manifest.json").write_bytes(newer.encode())
    with pytest.raises(DataError, match="needs vigil 99"):
        load_bundle(tmp_path / "b")


def test_a_manifest_from_before_signing_keeps_its_bytes(tmp_path: Path) -> None:
    for path in sorted(Path("engines/reference").glob("*/manifest.json")):
        data = path.read_bytes()
        assert decode_manifest(data, where="x").encode() == data
        assert read_manifest(path.parent).manifest.release is None
