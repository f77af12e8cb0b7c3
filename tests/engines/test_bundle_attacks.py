"""What somebody who can write the files, but has not the key, may try; each refused on its own.

The bundle is whole, signed and trusted. Each attack must be refused with its own words before
anything but what vouches for it is parsed: `parsing` fails the test if `model.json`, `alarm.json`
or an array is parsed, and, until the signature has been checked, if the manifest is.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_bundles import (
    canonical,
    key_pair,
    restamp,
    rewrite,
    signed,
    small_bundle,
)

import engines.bundle
import engines.bundle_check
import engines.bundle_files
from engines.array_file import decode_arrays, encode_arrays
from engines.bundle import load_bundle
from engines.errors import DataError, RefusedError, VigilError
from engines.manifest import MAX_FILE_BYTES
from engines.release import require_rising
from engines.sign_bundle import sign_bundle
from engines.signature import encode_signatures, sign
from engines.signing_keys import KeyFiles, read_private_key
from engines.trusted_keys import TrustedKeys, read_trusted


@pytest.fixture
def pair(tmp_path: Path) -> KeyFiles:
    return key_pair(tmp_path)[0]


@pytest.fixture
def trusted(pair: KeyFiles) -> TrustedKeys:
    return read_trusted([pair.public])


@pytest.fixture
def root(tmp_path: Path, pair: KeyFiles) -> Path:
    return signed(tmp_path / "bundle", pair, release=5).root


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """From here on, parsing anything that the manifest lists fails the test."""
    del root  # made before

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was parsed before it was checked")

    monkeypatch.setattr(engines.bundle, "decode_description", never)
    monkeypatch.setattr(engines.bundle, "decode_arrays", never)


def refused(
    root: Path, trusted: TrustedKeys, words: str, kind: type[VigilError] = DataError
) -> VigilError:
    with pytest.raises(kind, match=words) as told:
        load_bundle(root, trusted=trusted)
    assert told.value.where
    assert told.value.mend
    return told.value


def forge(
    root: Path, pair: KeyFiles, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> None:
    """What only the owner of the key could do: sign a manifest that is wrong in itself."""
    rewrite(root, change)
    name, signature = sign((root / "manifest.json").read_bytes(), read_private_key(pair.private))
    (root / "manifest.sig").write_bytes(encode_signatures({name: signature}))


def test_the_untouched_bundle_is_accepted(root: Path, trusted: TrustedKeys) -> None:
    assert load_bundle(root, trusted=trusted).signed_by == tuple(trusted.keys)


@pytest.mark.usefixtures("parsing")
def test_a_changed_byte_in_each_file(root: Path, trusted: TrustedKeys) -> None:
    tried = 0
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            changed = bytearray(data)
            changed[place] ^= 0x40
            path.write_bytes(changed)
            with pytest.raises((DataError, RefusedError), match=r"hash|does not fit|signatures|by"):
                load_bundle(root, trusted=trusted)
            tried += 1
        path.write_bytes(data)
    assert tried == 3 * 9


@pytest.mark.usefixtures("parsing")
def test_the_signature_comes_before_the_manifest_is_parsed(
    root: Path, trusted: TrustedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the manifest was parsed before its signature was checked")

    monkeypatch.setattr(engines.bundle_check, "decode_manifest", never)
    rewrite(root, lambda raw: raw.update(name="other"))
    refused(root, trusted, "changed after signing", RefusedError)


@pytest.mark.usefixtures("parsing")
def test_a_wrong_key(root: Path, tmp_path: Path, trusted: TrustedKeys, pair: KeyFiles) -> None:
    other, _ = key_pair(tmp_path, "other")
    sign_with(root, other)
    told = refused(root, trusted, f"signed by {other.key_id}; trusted are {pair.key_id}",
                   RefusedError)  # fmt: skip
    assert told.exit_code == 77
    # The wrong key under the right key's name.
    line = (root / "manifest.sig").read_bytes()
    (root / "manifest.sig").write_bytes(line.replace(other.key_id.encode(), pair.key_id.encode()))
    refused(root, trusted, "does not fit", RefusedError)


def sign_with(root: Path, pair: KeyFiles) -> None:
    (root / "manifest.sig").unlink()
    forge(root, pair)


@pytest.mark.usefixtures("parsing")
def test_no_signature(root: Path, trusted: TrustedKeys) -> None:
    (root / "manifest.sig").unlink()
    assert refused(root, trusted, "not signed", RefusedError).exit_code == 77


@pytest.mark.usefixtures("parsing")
def test_a_signature_of_something_else_by_the_right_key(
    root: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    bare = read_private_key(pair.private).sign((root / "manifest.json").read_bytes())
    (root / "manifest.sig").write_bytes(encode_signatures({pair.key_id: bare}))
    refused(root, trusted, "does not fit", RefusedError)


def test_an_older_version_sent_again(
    root: Path, tmp_path: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    older = signed(tmp_path / "older", pair, release=4, seed=4).root
    load_bundle(older, trusted=trusted)  # its signature is as good as ever
    new = engines.bundle_check.read_manifest(older, trusted=trusted).manifest
    installed = engines.bundle_check.read_manifest(root).manifest
    with pytest.raises(RefusedError, match="release 4, release 5 is installed"):
        require_rising(new, installed, where=str(older))


def test_files_of_two_signed_bundles_mixed(
    root: Path, tmp_path: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    other = signed(tmp_path / "other", pair, release=6, seed=1).root
    for name in ("networks/appearance.fp32.onnx", "heads/appearance.npz", "manifest.sig"):
        mixed = tmp_path / "mixed"
        shutil.copytree(root, mixed)
        shutil.copy(other / name, mixed / name)
        with pytest.raises((DataError, RefusedError), match=r"hash|bytes, the|does not fit"):
            load_bundle(mixed, trusted=trusted)
        shutil.rmtree(mixed)
    mixed = shutil.copytree(root, tmp_path / "mixed")
    for name in ("manifest.json", "manifest.sig"):
        shutil.copy(other / name, mixed / name)
    refused(mixed, trusted, "the manifest says")


@pytest.mark.usefixtures("parsing")
@pytest.mark.parametrize(
    "path",
    ["../escape", "/etc/passwd", "a//b", "a/../b", "./a", "a/", "A.onnx", "a\\b", "a\x00b",
     ".hidden", "x" * 101, "a/b/c/d/e", "", ".", "..", "é", "manifest.json", "manifest.sig",
     "a b", "a\n"],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_even_if_signed(
    root: Path, trusted: TrustedKeys, pair: KeyFiles, path: str
) -> None:
    forge(root, pair, lambda raw: raw["files"][0].update(path=path))
    refused(root, trusted, "path|cannot be listed")


@pytest.mark.usefixtures("parsing")
def test_a_symbolic_link_as_file_as_folder_and_as_manifest(
    root: Path, tmp_path: Path, trusted: TrustedKeys
) -> None:
    for name in ("heads/appearance.npz", "heads", "manifest.json", "manifest.sig", "model.json"):
        away = tmp_path / "away"
        (root / name).rename(away)
        (root / name).symlink_to(away)
        refused(root, trusted, "regular|does not list")
        if name != "manifest.sig":
            with pytest.raises(DataError, match="regular"):
                load_bundle(root)  # also where no key is trusted
        (root / name).unlink()
        away.rename(root / name)
    current = tmp_path / "current"
    current.symlink_to(root)  # the folder itself may be a link: `current` is
    assert engines.bundle_check.check_bundle(current, trusted=trusted).signed_by


def test_a_disk_that_fails_is_told_and_no_traceback(
    root: Path, trusted: TrustedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    opened: list[int] = []

    def fdopen(descriptor: int, *_: object) -> io.BytesIO:
        opened.append(descriptor)
        return Failing()

    with monkeypatch.context() as patch:
        patch.setattr(engines.bundle_files.os, "fdopen", fdopen)
        told = refused(root, trusted, "cannot be read: Input/output error")
    assert "disk may be failing" in str(told.mend)
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.usefixtures("parsing")
def test_a_hard_link_out(root: Path, tmp_path: Path, trusted: TrustedKeys) -> None:
    os.link(root / "networks/appearance.fp32.onnx", tmp_path / "outside")
    refused(root, trusted, "2 names")


@pytest.mark.usefixtures("parsing")
@pytest.mark.parametrize("name", ["heads/appearance.npz", "manifest.json", "manifest.sig"])
def test_a_pipe_or_a_folder_where_a_file_belongs(
    root: Path, trusted: TrustedKeys, name: str
) -> None:
    (root / name).unlink()
    os.mkfifo(root / name)
    with pytest.raises(VigilError):  # and does not wait for a writer
        load_bundle(root, trusted=trusted)
    (root / name).unlink()
    (root / name).mkdir()
    with pytest.raises(VigilError):
        load_bundle(root, trusted=trusted)


@pytest.mark.usefixtures("parsing")
def test_a_declared_size_bomb_even_if_signed(
    root: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    def one(raw: dict[str, Any]) -> None:
        raw["files"][0]["size"] = MAX_FILE_BYTES + 1

    forge(root, pair, one)
    refused(root, trusted, "less than or equal")

    def description(raw: dict[str, Any]) -> None:
        next(f for f in raw["files"] if f["path"] == "model.json")["size"] = 2 << 20
        raw["files"][0]["size"] = 1000

    forge(root, pair, description)
    refused(root, trusted, "role model at most")

    def together(raw: dict[str, Any]) -> None:
        raw["files"] = [
            {"path": f"f{n}", "role": "record", "size": MAX_FILE_BYTES, "sha256": "0" * 64}
            for n in range(3)
        ]

    forge(root, pair, together)
    refused(root, trusted, "a bundle at most")


@pytest.mark.usefixtures("parsing")
def test_an_undeclared_size_bomb_is_not_read(root: Path, trusted: TrustedKeys) -> None:
    path = root / "networks/appearance.fp32.onnx"
    with path.open("r+b") as stream:
        stream.truncate(1 << 42)  # 4 TiB of nothing; reading it would take hours
    began = time.monotonic()
    refused(root, trusted, "the manifest says 1000")
    assert time.monotonic() - began < 60


@pytest.mark.usefixtures("parsing")
def test_a_file_that_grows_while_it_is_read_is_left_at_its_size(
    root: Path, trusted: TrustedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the right size when it was opened, and has 4 TiB now."""
    path = root / "networks/appearance.fp32.onnx"
    os.truncate(path, 1 << 42)
    real = os.fstat

    def before(descriptor: int) -> os.stat_result:
        status = list(real(descriptor))
        if status[stat.ST_SIZE] == 1 << 42:
            status[stat.ST_SIZE] = 1000
        return os.stat_result(status)

    monkeypatch.setattr(engines.bundle_files.os, "fstat", before)
    refused(root, trusted, "has 1001 bytes, the manifest says 1000")


@pytest.mark.usefixtures("parsing")
def test_giant_manifests_and_signatures_are_not_read_whole(
    root: Path, trusted: TrustedKeys
) -> None:
    data = (root / "manifest.sig").read_bytes()
    os.truncate(root / "manifest.sig", 1 << 42)
    refused(root, trusted, "no list of signatures")
    (root / "manifest.sig").write_bytes(data)
    os.truncate(root / "manifest.json", 1 << 42)
    refused(root, trusted, "does not fit", RefusedError)
    with pytest.raises(DataError, match="at most"):
        load_bundle(root)


def peak_bytes(work: Callable[[], object]) -> int:
    """Memory that Python, zlib and numpy took at most while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def zip_of(content: bytes, *, zeros_mib: int = 0, declared: int) -> bytes:
    """An archive with one member: `content`, then zeros; it may hold more than it declares."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(content)
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(zeros_mib))
    packed += packer.flush()
    crc = zlib.crc32((content + bytes(4096))[:declared])
    name = b"means.npy"
    sizes = struct.pack("<IIIHH", crc, len(packed), declared, len(name), 0)
    local = struct.pack("<4sHHHHH", b"PK\x03\x04", 20, 0, 8, 0, 33) + sizes + name + packed
    entry = struct.pack("<4sHHHHHH", b"PK\x01\x02", 20, 20, 0, 8, 0, 33) + sizes
    entry += struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local), 0)
    return local + entry + end


def test_the_zip_of_this_test_is_one() -> None:
    content = io.BytesIO()
    np.save(content, np.arange(6.0))
    data = zip_of(content.getvalue(), declared=len(content.getvalue()))
    np.testing.assert_array_equal(decode_arrays(data, where="x")["means"], np.arange(6.0))


def npz(members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npy(header: str, values: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + values


PLAIN = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"
ZEROS = bytes(16)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        # Packed small, declared large: 300 MiB of zeros.
        (lambda: zip_of(b"", zeros_mib=300, declared=300 << 20), "unpacks to"),
        # Packed small, declared small, unpacks large.
        (lambda: zip_of(b"", zeros_mib=300, declared=1000), "no plain array"),
        # A header of a few bytes that asks for 80 GB.
        (lambda: npz({"a.npy": npy(PLAIN.replace("(2,)", "(9999999999,)"))}), "its shape is"),
        (lambda: npz({"a.npy": npy(PLAIN.replace("(2,)", "(99999, 99999, 99999)"))}), "shape is"),
        (lambda: npz({f"a{n}.npy": npy(PLAIN, ZEROS) for n in range(65)}), "more than 64"),
        (lambda: npz({"a.npy": npy(PLAIN.replace("<f8", "|O"), ZEROS)}), "plain numbers"),
        (lambda: npz({"a.npy": npy(PLAIN.replace("<f8", "<U2"), ZEROS)}), "plain numbers"),
        (lambda: npz({"a.npy": npy("{'descr': __import__('os')}", ZEROS)}), "plain numbers"),
        (lambda: npz({"../a.npy": npy(PLAIN, ZEROS)}), "no name of an array"),
        (lambda: npz({"a.pkl": b"cos\nsystem\n"}), "no name of an array"),
        (lambda: npz({"a.npy": npy(PLAIN, ZEROS)}, compression=zipfile.ZIP_LZMA), "unknown way"),
        (lambda: npz({"a.npy": npy(PLAIN, ZEROS + b"x")}), "17 bytes of values"),
        (lambda: npz({"a.npy": npy(PLAIN, ZEROS[:-1])}), "15 bytes of values"),
        (lambda: npz({"a.npy": b""}), "no plain array"),
        (lambda: npz({"a.npy": npy(PLAIN, ZEROS)})[:-1], "does not end"),
        (lambda: b"", "does not end"),
        (lambda: b"\x93NUMPY" + bytes(100), "does not end"),
        (lambda: b"\x80\x04K\x01." * 10, "does not end"),
    ],
)
def test_array_files_that_would_take_memory_or_run_code(
    make: Callable[[], bytes], words: str
) -> None:
    data = make()

    def refuse() -> None:
        with pytest.raises(DataError, match=words):
            decode_arrays(data, where="heads/a.npz")

    assert peak_bytes(refuse) < 8 << 20


def test_arrays_come_back_as_they_were() -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "half": rng.normal(size=(3, 4)).astype(np.float16),
        "turned": np.asfortranarray(rng.normal(size=(3, 4, 2))),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), np.float32),
        "flags": np.array([True, False]),
        **{f"i{size}": np.array([-1, 2]).astype(f"<i{size}") for size in (1, 2, 4, 8)},
        **{f"u{size}": np.array([1, 2]).astype(f"<u{size}") for size in (1, 2, 4, 8)},
    }
    back = decode_arrays(encode_arrays(arrays), where="x")
    assert set(back) == set(arrays)
    for key, array in arrays.items():
        assert back[key].dtype == array.dtype
        np.testing.assert_array_equal(back[key], array)
        assert back[key].flags.writeable
    # The reader of numpy is the second opinion on every array file that is shipped.
    for path in sorted(Path("engines/reference").rglob("*.npz")):
        found = decode_arrays(path.read_bytes(), where=str(path))
        with np.load(path, allow_pickle=False) as archive:
            assert set(found) == set(archive.files)
            for key in archive.files:
                np.testing.assert_array_equal(found[key], archive[key])
                assert found[key].dtype == archive[key].dtype


def test_a_bomb_in_a_signed_bundle_is_refused_when_it_is_parsed(
    root: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    (root / "heads/appearance.npz").write_bytes(zip_of(b"", zeros_mib=64, declared=1000))
    restamp(root, "heads/appearance.npz")
    forge(root, pair)
    bundle = load_bundle(root, trusted=trusted)
    with pytest.raises(DataError, match="no plain array"):
        bundle.arrays("heads/appearance.npz")


def test_a_file_swapped_after_the_check_is_found_when_it_is_parsed(
    root: Path, trusted: TrustedKeys
) -> None:
    bundle = load_bundle(root, trusted=trusted)
    path = root / "heads/appearance.npz"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(DataError, match="hash"):
        bundle.arrays("heads/appearance.npz")


@pytest.mark.usefixtures("parsing")
def test_an_unknown_schema_even_if_signed(root: Path, trusted: TrustedKeys, pair: KeyFiles) -> None:
    for version, words in ((3, "knows up to 2"), (0, "schema_version"), ("2", "no integer")):
        forge(root, pair, lambda raw, v=version: raw.update(schema_version=v))  # type: ignore[misc]
        with pytest.raises(DataError, match=words):
            load_bundle(root, trusted=trusted)
    forge(root, pair, lambda raw: raw.update(schema_version=1))
    refused(root, trusted, "schema 1 has none")


@pytest.mark.usefixtures("parsing")
def test_a_transfer_broken_off_anywhere(root: Path, tmp_path: Path, trusted: TrustedKeys) -> None:
    """Files arrive one after the other, in any order; the last one perhaps in part."""
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    for order in (names, names[::-1]):
        for arrived in range(len(names)):
            part = tmp_path / "part"
            for name in order[:arrived]:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, part / name)
            (part / order[arrived]).parent.mkdir(parents=True, exist_ok=True)
            data = (root / order[arrived]).read_bytes()
            (part / order[arrived]).write_bytes(data[: len(data) // 2])
            with pytest.raises(VigilError):
                load_bundle(part, trusted=trusted)
            shutil.rmtree(part)


@pytest.mark.usefixtures("parsing")
def test_a_file_listed_twice_even_if_signed(
    root: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    forge(root, pair, lambda raw: raw["files"].append(raw["files"][0]))
    refused(root, trusted, "listed twice")


@pytest.mark.usefixtures("parsing")
@pytest.mark.parametrize(
    "name", ["extra.so", "networks/extra.onnx", ".hidden", "Extra", "new/deep/file", "a\x1b[2J"]
)
def test_an_extra_file(root: Path, trusted: TrustedKeys, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"x")
    told = refused(root, trusted, "does not list")
    assert "\x1b" not in str(told)


@pytest.mark.usefixtures("parsing")
def test_an_extra_empty_folder(root: Path, trusted: TrustedKeys) -> None:
    (root / "empty").mkdir()
    refused(root, trusted, "does not list")


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "utf-16": lambda d: d.decode().encode("utf-16"),
    "utf-32": lambda d: d.decode().encode("utf-32-le"),
    "byte order mark": lambda d: b"\xef\xbb\xbf" + d,
    "not utf-8": lambda d: d.replace(b'"small"', b'"sm\xffll"'),
    "a key twice": lambda d: d.replace(b'"name":', b'"name":"other","name":'),
    "a key twice in a file": lambda d: d.replace(b'"path":', b'"path":"x","path":', 1),
    "spaces": lambda d: d.replace(b",", b", ", 1),
    "indented": lambda d: json.dumps(json.loads(d), indent=1, sort_keys=True).encode(),
    "another order": lambda d: canonical_unsorted(json.loads(d)),
    "escapes": lambda d: d.replace(b'"small"', b'"\\u0073mall"'),
    "no newline": lambda d: d[:-1],
    "trailing bytes": lambda d: d + b" ",
    "a second document": lambda d: d + d,
    "a fraction": lambda d: d.replace(b'"release":5', b'"release":5.0'),
    "an exponent": lambda d: d.replace(b'"release":5', b'"release":5e0'),
    "a minus zero": lambda d: d.replace(b'"size":1000', b'"size":-0'),
    "an endless number": lambda d: d.replace(b'"release":5', b'"release":' + b"9" * 200_000),
    "not a number": lambda d: d.replace(b'"release":5', b'"release":NaN'),
    "null": lambda d: d.replace(b'"release":5', b'"release":null'),
    "deep": lambda d: d[:0] + b"[" * 200_000,
    "half a surrogate": lambda d: d.replace(b'"small"', b'"\\ud800"'),
    "not composed": lambda d: d.replace(b'"small"', '"sma\u0301ll"'.encode()),
    "control characters": lambda d: d.replace(b'"small"', b'"\\u001b[2J"'),
    "an unknown key": lambda d: d.replace(b'"name":', b'"\\u001b[2J":1,"name":'),
    "a list": lambda d: d[:0] + b"[]\n",
    "nothing": lambda d: d[:0],
}


def canonical_unsorted(raw: dict[str, Any]) -> bytes:
    return (json.dumps(dict(reversed(raw.items())), separators=(",", ":")) + "\n").encode()


@pytest.mark.usefixtures("parsing")
@pytest.mark.parametrize("kind", ENCODINGS)
def test_a_manifest_of_another_encoding_even_if_signed(
    root: Path, trusted: TrustedKeys, pair: KeyFiles, kind: str
) -> None:
    data = (root / "manifest.json").read_bytes()
    spoiled = ENCODINGS[kind](data)
    assert spoiled != data
    (root / "manifest.json").write_bytes(spoiled)
    refused(root, trusted, "does not fit", RefusedError)
    name, signature = sign(spoiled, read_private_key(pair.private))
    (root / "manifest.sig").write_bytes(encode_signatures({name: signature}))
    with pytest.raises(DataError) as told:
        load_bundle(root, trusted=trusted)
    assert "\x1b" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("model.json", b"[" * 100_000, "nested"),
        ("model.json", b'{"schema_version":1,"schema_version":1}', "stands twice"),
        ("model.json", b'{"schema_version":1,"name":Infinity}', "Infinity"),
        ("alarm.json", b'{"threshold":1e999}', "finite"),
        ("alarm.json", b"\xff\xfe{\x00}\x00", "UTF-8"),
    ],
)
def test_descriptions_that_are_wrong_even_if_signed(
    root: Path, trusted: TrustedKeys, pair: KeyFiles, name: str, data: bytes, words: str
) -> None:
    (root / name).write_bytes(data)
    restamp(root, name)
    forge(root, pair)
    with pytest.raises(DataError, match=words):
        load_bundle(root, trusted=trusted)


def test_hashing_a_large_file_takes_constant_memory(
    tmp_path: Path, trusted: TrustedKeys, pair: KeyFiles
) -> None:
    root = small_bundle(tmp_path / "large").root
    os.truncate(root / "networks/appearance.fp32.onnx", 64 << 20)
    restamp(root, "networks/appearance.fp32.onnx")
    sign_bundle(root, read_private_key(pair.private))
    assert peak_bytes(lambda: load_bundle(root, trusted=trusted)) < 8 << 20


def test_unsigned_bundles_stay_loadable_where_no_key_is_trusted(tmp_path: Path) -> None:
    root = small_bundle(tmp_path / "b").root
    (root / "notes.txt").write_text("a person's own")
    os.link(root / "model.json", tmp_path / "second")
    bundle = load_bundle(root)
    assert bundle.signed_by == ()
    assert canonical(json.loads((root / "manifest.json").read_bytes())) == bundle.manifest.encode()
