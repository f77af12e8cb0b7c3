#!/usr/bin/env python3
"""Does everything that a device needs exist as a wheel for 64-bit ARM? Downloads it and sees.

Usage: .venv/bin/python scripts/check_aarch64.py [--python 3.10] [--extra NAME] [--keep FOLDER]

Starts from the device's dependencies in pyproject.toml at the versions of constraints.txt, follows
what each downloaded wheel requires on Linux, ARM and that Python, and fails on any that has no
wheel. With --keep the wheels stay, FOLDER/3.10 and so on: what an offline device installs from.
Packages come from wherever pip is set up to take them. Not a dependency and so not looked for:
what the device's own distribution brings (printed at the end).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent

# Python, and the newest C library that its wheels may need: Ubuntu 22.04 (JetPack 6) has glibc 2.35
# and Python 3.10, Ubuntu 24.04 (JetPack 7) has glibc 2.39 and Python 3.12.
GLIBC_MINOR = {"3.10": 35, "3.11": 36, "3.12": 39}

FROM_THE_SYSTEM = (
    ("tensorrt (Python), libnvinfer", "JetPack", "belongs to the board's driver"),
    ("CUDA toolkit with nvcc", "JetPack", "pycuda is compiled with it"),
    ("pycuda (extra jetson)", "source, compiled on the device", "there is no wheel of it"),
    ("python3-gi, gir1.2-gstreamer-1.0, gstreamer1.0-*", "Debian, Ubuntu", "hardware decoding"),
    ("nvidia-l4t-gstreamer", "JetPack", "nvv4l2decoder, nvarguscamerasrc"),
    ("ffmpeg", "Debian, Ubuntu", "network cameras without GStreamer"),
    ("mosquitto", "Debian, Ubuntu", "only where the broker runs on the device itself"),
    ("openssh-server, systemd, python3-venv", "Debian, Ubuntu", "provisioning and the service"),
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A Python on 64-bit ARM Linux."""

    python: str

    @property
    def markers(self) -> dict[str, str]:
        """What environment markers see there."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": "aarch64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.12",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }

    def applies(self, requirement: Requirement, extras: frozenset[str] = frozenset()) -> bool:
        """Whether a requirement holds there, for a package asked for with `extras`."""
        if requirement.marker is None:
            return True
        choices = ({**self.markers, "extra": extra} for extra in {"", *extras})
        return any(requirement.marker.evaluate(choice) for choice in choices)

    @property
    def pip_options(self) -> list[str]:
        """Which wheels fit."""
        platforms = ["manylinux2014_aarch64", "linux_aarch64"]
        platforms += [f"manylinux_2_{n}_aarch64" for n in range(17, GLIBC_MINOR[self.python] + 1)]
        tag = f"cp{self.python.replace('.', '')}"
        options = ["--implementation", "cp", "--python-version", self.python]
        options += [part for abi in (tag, "abi3", "none") for part in ("--abi", abi)]
        return options + [part for name in platforms for part in ("--platform", name)]


def main() -> int:
    """Check every Python asked for; the exit code is 1 if anything is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", action="append", choices=sorted(GLIBC_MINOR))
    parser.add_argument("--extra", action="append", default=[], metavar="NAME")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the wheels here")
    arguments = parser.parse_args()
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        for python in arguments.python or ["3.10", "3.12"]:
            folder = (arguments.keep or Path(temporary)) / python
            folder.mkdir(parents=True, exist_ok=True)
            missing += check(Target(python), folder, arguments.extra)
    print("\nFrom the device's own distribution, not from wheels:")
    for name, source, why in FROM_THE_SYSTEM:
        print(f"  {name:<50} {source}: {why}")
    for line in missing:
        print(f"MISSING: {line}", file=sys.stderr)
    return 1 if missing else 0


def wanted_by_a_device(extras: Sequence[str]) -> list[Requirement]:
    """What the project itself asks for on a device, with some of its extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra in extras:
        if extra not in project["optional-dependencies"]:
            raise SystemExit(f"pyproject.toml has no extra {extra}")
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def check(target: Target, folder: Path, extras_wanted: Sequence[str]) -> list[str]:
    """Download the closure of the device's dependencies; what could not be found."""
    pins = dict(read_pins(target))
    waiting = wanted_by_a_device(extras_wanted)
    seen: set[tuple[str, frozenset[str]]] = set()
    missing = []
    total = 0
    print(f"Python {target.python}, aarch64:")
    while waiting:
        requirement = waiting.pop(0)
        name = canonicalize_name(requirement.name)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen or not target.applies(requirement):
            continue
        seen.add((name, extras))
        wanted = pins.get(name, str(requirement.specifier))
        wheel, reason = download(name, wanted, target, folder)
        if wheel is None:
            missing.append(f"{name}{wanted} for Python {target.python}: {reason}")
            print(f"  {name}{wanted}: no wheel")
            continue
        version = parse_wheel_filename(wheel.name)[1]
        if not requirement.specifier.contains(version, prereleases=True):
            missing.append(f"{name}: {version} is pinned, {requirement.specifier} is required")
        total += wheel.stat().st_size
        print(f"  {wheel.name}  {wheel.stat().st_size / 1e6:.1f} MB")
        waiting += [one for one in required_by(wheel) if target.applies(one, extras)]
    print(f"  {len(seen) - len(missing)} wheels, {total / 1e6:.0f} MB, {len(missing)} missing")
    return missing


def read_pins(target: Target) -> Iterator[tuple[str, str]]:
    """Name and exact version (`==1.2.3`) of each constraint that holds there."""
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if target.applies(requirement):
                yield canonicalize_name(requirement.name), str(requirement.specifier)


def download(name: str, wanted: str, target: Target, folder: Path) -> tuple[Path | None, str]:
    """The wheel of a package, or None and pip's last word."""
    before = set(folder.iterdir())
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), *target.pip_options]
    done = subprocess.run(
        [*command, f"{name}{wanted}"], capture_output=True, text=True, check=False
    )
    new = sorted(set(folder.iterdir()) - before) or [
        path for path in folder.glob("*.whl") if parse_wheel_filename(path.name)[0] == name
    ]
    if done.returncode or not new:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        return None, lines[-1]
    return new[-1], ""


def required_by(wheel: Path) -> list[Requirement]:
    """What a wheel says that it requires."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        headers = BytesHeaderParser().parsebytes(archive.read(metadata))
    return [Requirement(text) for text in headers.get_all("Requires-Dist", [])]


if __name__ == "__main__":
    sys.exit(main())
