"""Mutates what a bundle is read from, and sees that nothing but a `VigilError` ever comes out.

Each case takes one thing that is read (signatures, manifest, description, array file, or a whole
folder), spoils it in one to four ways, and reads it. It must be refused by a `VigilError`, or
accepted with good reason:

* signatures: never accepted unless all bytes are the signed ones;
* manifest: accepted only if its bytes are its canonical form;
* array file: accepted only if every value is finite and all of it is within the limit;
* folder: accepted with trusted keys only if every file in it is as it was signed.

No case may take more than `CASE_S` seconds, nor the whole more than `TOTAL_BYTES` of memory. A case
is made from the seed and its number alone, so that one that fails can be repeated:
`python -m support.bundle_fuzzer --first NUMBER --cases 1`.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support.small_bundles import key_pair, signed

from engines.array_file import MAX_ARRAY_FILE_BYTES, decode_arrays
from engines.bundle import decode_description, load_bundle
from engines.errors import VigilError
from engines.manifest import decode_manifest
from engines.model_spec import AlarmSpec, ModelSpec
from engines.signature import require_signature
from engines.trusted_keys import TrustedKeys

CASE_S = 20.0  # by the clock, on machines that stall
TOTAL_BYTES = 1 << 30
_LOOK_EVERY = 100  # cases; asking for the memory is slow
_FOLDER_SHARE = 0.02  # of the cases; they are a hundred times slower than the others

_NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, -0.0, "", ".", "..",
    "../x", "/", "\x00", "\u202e", "é", "x" * 300, "1", "9.9.9", [], {}, [[]], {"a": {}}, [0] * 300,
)  # fmt: skip
_NASTY_TEXT = (
    b"NaN", b"Infinity", b"1e999", b"-0", b"1.0", b"9" * 40, b'"\\ud800"', b"\xff", b"\xef\xbb\xbf",
    b"[" * 2000, b'{"a":1,"a":2}', b"\x00", b"null", b"//", b" ", b"\n", b"\\u0000", b"/../",
)  # fmt: skip
_HEADERS = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 2), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 9999999999), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 9999999999), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '|b1', 'fortran_order': False, 'shape': (16,), }",
    "(" * 500,
)


class EscapedError(Exception):
    """A case that ended as no case may; the message has the number that repeats it."""


@dataclass
class Tally:
    """What came out: outcome to number of cases."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """For people."""
        rate = self.cases / self.seconds if self.seconds else 0.0
        first = f"{self.cases} cases in {self.seconds:.1f} s, {rate:.0f} a second, none escaped"
        return [first, *(f"  {n:>8}  {what}" for what, n in self.outcomes.most_common())]


class BundleFuzzer:
    """Makes, spoils and reads; `folder` is where it may write."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        self._seed = seed
        pair, self._trusted = key_pair(folder)
        self._root = signed(folder / "bundle", pair, release=5).root
        other = signed(folder / "other", pair, release=6, seed=1).root
        self._files = _read_all(self._root)
        self._others = _read_all(other)
        self._work = folder / "work"
        self._arrays = [name for name in self._files if name.endswith(".npz")]

    def run(self, *, cases: int, seconds: float = float("inf"), first: int = 0) -> Tally:
        """Run cases until there were so many, or for so long.

        Raises:
            EscapedError: A case ended by another exception, was wrongly accepted, or took too much.
        """
        tally = Tally()
        began = time.monotonic()
        for number in range(first, first + cases):
            if tally.seconds > seconds:
                break
            tally.outcomes[self._case(number)] += 1
            tally.cases += 1
            tally.seconds = time.monotonic() - began
        return tally

    def _case(self, number: int) -> str:
        rng = random.Random(f"{self._seed}-{number}")
        readers: tuple[Callable[[random.Random], str], ...] = (
            self._signatures, self._manifest, self._description, self._array_file,
        )  # fmt: skip
        read = self._folder if rng.random() < _FOLDER_SHARE else rng.choice(readers)
        began = time.monotonic()
        name = read.__name__.strip("_")
        try:
            outcome = f"{name} {read(rng)}"
        except VigilError as error:
            outcome = f"{name} refused: {type(error).__name__}"
            if not str(error).isprintable():
                raise EscapedError(f"case {number}: its message is not printable") from error
        except Exception as error:
            raise EscapedError(f"case {number} ({name}) ended by {error!r}") from error
        if time.monotonic() - began > CASE_S:
            raise EscapedError(f"case {number} ({name}) took more than {CASE_S} s")
        if number % _LOOK_EVERY == 0:
            kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if kib * 1024 > TOTAL_BYTES:
                raise EscapedError(f"case {number} or one just before took {kib} KiB of memory")
        return outcome

    def _signatures(self, rng: random.Random) -> str:
        manifest, data = self._files["manifest.json"], self._files["manifest.sig"]
        which = rng.randrange(3)
        if which != 0:
            data = _spoil(data, rng, self._others["manifest.sig"])
        if which != 1:
            manifest = _spoil(manifest, rng, self._others["manifest.json"])
        require_signature(manifest, data, self._trusted, where="fuzz")
        whole = [
            (files["manifest.json"], files["manifest.sig"]) for files in (self._files, self._others)
        ]
        return _require("accepted unspoiled", (manifest, data) in whole)

    def _manifest(self, rng: random.Random) -> str:
        data = _spoil_json(self._files["manifest.json"], rng)
        manifest = decode_manifest(data, where="fuzz")
        return _require("accepted", manifest.encode() == data)

    def _description(self, rng: random.Random) -> str:
        name, kind = rng.choice((("model.json", ModelSpec), ("alarm.json", AlarmSpec)))
        found = decode_description(_spoil_json(self._files[name], rng), kind, where=f"fuzz/{name}")
        return _require("accepted", isinstance(found, kind))

    def _array_file(self, rng: random.Random) -> str:
        data = _spoil_npz(self._files[rng.choice(self._arrays)], rng)
        arrays = decode_arrays(data, where="fuzz/a.npz")
        fine = all(
            array.dtype.kind in "biuf" and bool(np.isfinite(array).all())
            for array in arrays.values()
        )
        within = sum(array.nbytes for array in arrays.values()) <= MAX_ARRAY_FILE_BYTES
        return _require("accepted", fine and within)

    def _folder(self, rng: random.Random) -> str:
        _write_all(self._work, self._files)
        for _ in range(rng.randint(1, 3)):
            self._spoil_folder(rng)
        trusted: TrustedKeys | None = self._trusted if rng.random() < 0.8 else None
        load_bundle(self._work, trusted=trusted)
        whole = _read_all(self._work) in (self._files, self._others)
        return _require("accepted", trusted is None or whole)

    def _spoil_folder(self, rng: random.Random) -> None:
        name = rng.choice(sorted(self._files))
        path = self._work / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 20:
            return  # spoiled already
        content = path.read_bytes()
        kind = rng.randrange(8)
        if kind == 0:
            path.write_bytes(_spoil(content, rng, self._others[name]))
        elif kind == 1:
            path.write_bytes(self._others[name])
        elif kind == 2:
            os.truncate(path, rng.choice((0, 1, len(content) // 2, 1 << 40)))
        elif kind == 3:
            (path.parent / rng.choice(("extra", ".x", "z.npz"))).write_bytes(b"x")
        else:
            path.unlink()
            replacements: tuple[Callable[[], object], ...] = (
                lambda: None,
                lambda: path.symlink_to(self._root / name),
                lambda: os.mkfifo(path),
                rng.choice((path.mkdir, lambda: os.link(self._root / name, path))),
            )
            replacements[kind - 4]()


def _require(outcome: str, fine: bool) -> str:
    if not fine:
        raise AssertionError(f"wrongly {outcome}")
    return outcome


def _read_all(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.stat().st_size < 1 << 20 else b""
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _write_all(root: Path, files: dict[str, bytes]) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def _spoil(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Bytes changed in one to four places."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(result) + 1)
        kind = rng.randrange(8)
        if kind <= 1 and result:
            result[place % len(result)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            result[place:place] = rng.randbytes(rng.randint(1, 8))
        elif kind == 3:
            del result[place : place + rng.randint(1, 64)]
        elif kind == 4:
            result[place:place] = rng.choice(_NASTY_TEXT)
        elif kind == 5:
            del result[place:]
        elif kind == 6:
            end = rng.randrange(len(result) + 1)
            result[place:place] = result[min(place, end) : max(place, end)][:4096]
        else:
            cut = rng.randrange(len(other) + 1)
            result[place:] = other[cut:]
    return bytes(result)


def _spoil_json(data: bytes, rng: random.Random) -> bytes:
    """JSON changed as values, mostly, so that what lies behind the parser is reached."""
    if rng.random() < 0.3:
        return _spoil(data, rng)
    raw = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        _spoil_value(raw, rng)
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=rng.random() < 0.2)
    result = (text + "\n").encode("utf-8", "surrogatepass")
    return result if rng.random() < 0.9 else _spoil(result, rng)


def _spoil_value(raw: Any, rng: random.Random) -> None:
    """Change one value somewhere inside, in place."""
    while isinstance(raw, (dict, list)) and raw:
        key = rng.choice(sorted(raw) if isinstance(raw, dict) else range(len(raw)))
        inside = raw[key]
        if isinstance(inside, (dict, list)) and inside and rng.random() < 0.8:
            raw = inside
            continue
        kind = rng.randrange(6)
        if kind == 0:
            del raw[key]
        elif kind == 1 and isinstance(raw, list):
            raw.append(inside)
        elif kind == 1:
            raw[str(rng.choice(_NASTY))[:40]] = inside
        elif kind == 2 and isinstance(inside, str):
            raw[key] = _spoil(inside.encode(), rng).decode("utf-8", "replace")
        elif kind == 3 and type(inside) is int:
            raw[key] = inside + rng.choice((-1, 1, 1 << 31, -inside))
        else:
            raw[key] = copy.deepcopy(rng.choice(_NASTY))  # it may itself be changed next
        return


def _spoil_npz(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return _spoil(data, rng)
    if kind == 1:  # the records of the archive: sizes, counts, methods, flags
        result = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            marks = [m for m in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") if m in result]
            start = result.index(rng.choice(marks)) if marks else 0
            place = start + 4 + 2 * rng.randrange(20)
            wide = rng.choice((b"\x00\x00", b"\xff\xff", b"\x01\x00", rng.randbytes(2)))
            result[place : place + 2] = wide
        return bytes(result)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if kind == 2:
        members[name] = _spoil(members[name], rng)
    else:
        header = rng.choice(_HEADERS).encode() + b"\n"
        if rng.random() < 0.5:
            header = _spoil(header, rng)
        values = rng.choice((bytes(16), b"\xff" * 16, b"", rng.randbytes(16)))
        version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00"))
        size = struct.pack("<H", len(header) & 0xFFFF)
        members[name] = b"\x93NUMPY" + version + size + header + values
    stream = io.BytesIO()
    way = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(stream, "w", way) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return stream.getvalue()


def main() -> int:
    """The command line; exit code 1 if a case escaped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    # In memory where there is such a place: the folders are written and fsynced often.
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        fuzzer = BundleFuzzer(Path(folder), seed=given.seed)
        try:
            tally = fuzzer.run(cases=given.cases, seconds=given.seconds, first=given.first)
        except EscapedError as error:
            print(f"ESCAPED, seed {given.seed}: {error}", file=sys.stderr)
            return 1
    print("\n".join(tally.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
