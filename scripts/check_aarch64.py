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
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from engines.errors import UnavailableError
from engines.flash.wheel_target import GLIBC_MINOR, Target
from engines.flash.wheelhouse import pins_of, required_by, wheel_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent

MACHINE = "aarch64"

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
            missing += check(Target(python, MACHINE), folder, arguments.extra)
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
    pins = dict(pins_of(target))
    waiting = wanted_by_a_device(extras_wanted)
    seen: set[tuple[str, frozenset[str]]] = set()
    missing = []
    total = 0
    print(f"Python {target.python}, aarch64:")
    while waiting:
        requirement = waiting.pop(0)
        name = canonicalize_name(requirement.name)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen or not target.applies(requirement, frozenset()):
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


def download(name: str, wanted: str, target: Target, folder: Path) -> tuple[Path | None, str]:
    """The wheel of a package, or None and pip's last word."""
    try:
        return wheel_of(name, wanted, target, folder), ""
    except UnavailableError as error:
        return None, error.what


if __name__ == "__main__":
    sys.exit(main())
