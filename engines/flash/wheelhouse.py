"""All wheels that a device needs, for its Python and its processor, with their hashes.

    DIR/wheelhouse.json     what it is for, and every wheel with size and SHA-256
    DIR/*.whl

pip downloads for another machine but judges environment markers (`; python_version < "3.11"`) by
the Python that it runs in; so the closure is followed here, with the target's markers.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, Final

from engines.atomic import write_text
from engines.errors import DataError, InputMissingError, UnavailableError
from engines.flash.wheel_target import Target
from engines.manifest import sha256_of

FILE: Final = "wheelhouse.json"
PROJECT: Final = "vigil"
SOURCE: Final = Path(__file__).resolve().parents[2]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wheel:
    """One file."""

    name: str
    version: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Wheelhouse:
    """A folder of wheels.

    Attributes:
        root: The folder.
        python: As ``3.11``.
        machine: As ``aarch64``.
        vigil: Version of vigil in it.
        wheels: All of them, by name.
    """

    root: Path
    python: str
    machine: str
    vigil: str
    wheels: tuple[Wheel, ...]

    @property
    def requirements(self) -> str:
        """For pip, with hashes."""
        return "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in self.wheels)

    @property
    def name(self) -> str:
        """Name of the runtime that is made of it: another wheel, another name."""
        digest = hashlib.sha256(f"{self.python} {self.machine}\n{self.requirements}".encode())
        return f"{self.vigil}-{digest.hexdigest()[:12]}"


def open_wheelhouse(root: Path) -> Wheelhouse:
    """Read a wheelhouse; every wheel must be as it was written down.

    Raises:
        InputMissingError: There is none.
        DataError: A wheel is missing or was changed.
    """
    mend = f"vigil wheelhouse {root} --python 3.10 --machine aarch64"
    try:
        raw = json.loads((root / FILE).read_text(encoding="utf-8"))
        wheels = tuple(Wheel(**wheel) for wheel in raw.pop("wheels"))
        house = Wheelhouse(root=root, wheels=wheels, **raw)
    except FileNotFoundError as error:
        raise InputMissingError(
            "this is no wheelhouse: a folder of all wheels for the device",
            where=str(root / FILE),
            mend=mend,
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"this wheelhouse cannot be read: {error}", where=str(root), mend=mend
        ) from error
    for wheel in house.wheels:
        path = root / wheel.file
        if not path.is_file() or sha256_of(path) != wheel.sha256:
            raise DataError(f"{wheel.file} is missing or was changed", where=str(root), mend=mend)
    return house


def make_wheelhouse(
    root: Path,
    *,
    python: str,
    machine: str,
    extras: Sequence[str] = (),
    own: Path | None = None,
    say: Say = lambda _text: None,
) -> Wheelhouse:
    """Download everything that a device needs; what is there already is kept.

    Args:
        root: The folder.
        python: Of the device.
        machine: Of the device.
        extras: Of vigil, such as ``page``.
        own: A wheel of vigil; built from the source tree if not given.
        say: Told each wheel.

    Raises:
        UnavailableError: Something has no wheel for that machine, or pip cannot get it.
    """
    root.mkdir(parents=True, exist_ok=True)
    target = Target(python, machine)
    (root / FILE).unlink(missing_ok=True)  # no wheelhouse until it is whole
    own = _own_wheel(root) if own is None else _copied(own, root)
    found = {PROJECT: own}
    pins = dict(pins_of(target))
    waiting = [r for r in required_by(own) if target.applies(r, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        fresh = {(_canonical(r.name), frozenset(r.extras)): r for r in waiting}
        fresh = {key: r for key, r in fresh.items() if key not in seen}
        seen |= set(fresh)
        names = {
            name: pins.get(name, str(requirement.specifier))
            for (name, _), requirement in fresh.items()
            if name not in found
        }
        # Most of pip's time is waiting.
        with ThreadPoolExecutor(max_workers=8) as pool:
            wheels = pool.map(lambda item: wheel_of(item[0], item[1], target, root), names.items())
            for name, wheel in zip(names, wheels, strict=True):
                say(f"{wheel.name}  {wheel.stat().st_size / 1e6:.1f} MB")
                found[name] = wheel
        waiting = [
            requirement
            for name, asked in fresh
            for requirement in required_by(found[name])
            if target.applies(requirement, asked)
        ]
    for stray in root.glob("*.whl"):
        if stray not in found.values():
            stray.unlink()
    described = tuple(_described(name, path) for name, path in sorted(found.items()))
    house = Wheelhouse(root, python, machine, _version_of(own), described)
    text = {
        "python": python,
        "machine": machine,
        "vigil": house.vigil,
        "wheels": [vars(wheel) for wheel in described],
    }
    write_text(root / FILE, json.dumps(text, indent=1) + "\n")
    return house


def wheel_of(name: str, wanted: str, target: Target, root: Path) -> Path:
    """The wheel of a package: the pinned one if it is in `root`, else what pip finds.

    Args:
        name: Canonical, as ``paho-mqtt``.
        wanted: Specifier, as ``==1.2.3``; empty: any version.
        target: What it must run on.
        root: Where wheels lie.

    Raises:
        UnavailableError: There is none for that machine, or pip cannot get it.
    """
    here = [path for path in root.glob("*.whl") if _canonical(path.name.partition("-")[0]) == name]
    for path in here:
        if wanted == f"=={path.name.split('-')[1]}":
            return path
        path.unlink()
    options = ["--no-deps", "--only-binary=:all:", "--dest", str(root), *target.pip_options]
    _pip("download", *options, f"{name}{wanted}")
    return next(
        path for path in root.glob("*.whl") if _canonical(path.name.partition("-")[0]) == name
    )


def pins_of(target: Target) -> Iterator[tuple[str, str]]:
    """Name and exact version (``==1.2.3``) of what the project is tested with on such a device.

    Nothing where the source tree is not here.
    """
    path = SOURCE / "constraints.txt"
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                requirement = _requirement(line)
                if target.applies(requirement, frozenset()):
                    yield _canonical(requirement.name), str(requirement.specifier)


def required_by(wheel: Path) -> list[Any]:
    """Requirements that a wheel states, whatever their markers.

    Raises:
        DataError: It is no wheel.
    """
    return [_requirement(text) for text in _headers(wheel).get_all("Requires-Dist", [])]


def _own_wheel(root: Path) -> Path:
    """Build vigil's wheel from the source tree that this runs from."""
    if not (SOURCE / "pyproject.toml").is_file():
        raise UnavailableError(
            "there is no source tree here to build vigil's own wheel from",
            where=str(SOURCE),
            mend="name it: --vigil vigil-VERSION-py3-none-any.whl",
        )
    for old in root.glob(f"{PROJECT}-*.whl"):
        old.unlink()
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    _pip("wheel", "--no-deps", *here, "--wheel-dir", str(root), str(SOURCE))
    return next(root.glob(f"{PROJECT}-*.whl"))


def _copied(own: Path, root: Path) -> Path:
    try:
        data = own.read_bytes()
    except OSError as error:
        raise InputMissingError(
            f"the wheel cannot be read: {error.strerror}", where=str(own)
        ) from error
    copy = root / own.name
    if own.resolve() != copy.resolve():
        copy.write_bytes(data)
    return copy


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *arguments[1:]],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise UnavailableError(
            f"pip {arguments[0]} {arguments[-1]}: {lines[-1][:300]}",
            where=sys.executable,
            mend="is there a wheel of it for this machine, and can pip reach its index?",
        )
    return done.stdout + done.stderr


def _headers(wheel: Path) -> Any:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            name = next(n for n in names if n.endswith(".dist-info/METADATA"))
            return BytesHeaderParser().parsebytes(archive.read(name))
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise DataError("this is no wheel", where=str(wheel), mend="empty the folder") from error


def _version_of(wheel: Path) -> str:
    return str(_headers(wheel)["Version"])


def _described(name: str, path: Path) -> Wheel:
    return Wheel(name, _version_of(path), path.name, path.stat().st_size, sha256_of(path))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirement(text: str) -> Any:
    try:
        return importlib.import_module("packaging.requirements").Requirement(text)
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "a wheelhouse needs the Python package packaging, which is not installed",
            where=sys.executable,
            mend="pip install packaging",
        ) from error
