"""A device's Python and processor, as pip and environment markers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

# Python, and the newest C library that its wheels may need: Ubuntu 22.04 (JetPack 6) has glibc
# 2.35, Debian 12 has 2.36, Ubuntu 24.04 (JetPack 7) has 2.39, Debian 13 has 2.41.
GLIBC_MINOR: Final = {"3.10": 35, "3.11": 36, "3.12": 39, "3.13": 41}
MACHINES: Final = ("aarch64", "x86_64")


@dataclass(frozen=True)
class Target:
    """A Python on a Linux machine."""

    python: str
    machine: str

    def applies(self, requirement: Any, extras: frozenset[str]) -> bool:
        """Whether a requirement holds there, for a package asked for with `extras`."""
        if requirement.marker is None:
            return True
        here = {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.12",
            "python_version": self.python,
            "sys_platform": "linux",
        }
        return any(requirement.marker.evaluate({**here, "extra": e}) for e in {"", *extras})

    @property
    def pip_options(self) -> list[str]:
        """Which wheels fit; pip widens no platform by itself, so each is named."""
        newest = GLIBC_MINOR[self.python]
        platforms = [f"manylinux2014_{self.machine}", f"linux_{self.machine}"]
        platforms += [f"manylinux_2_{n}_{self.machine}" for n in range(5, newest + 1)]
        options = ["--implementation", "cp", "--python-version", self.python]
        for abi in (f"cp{self.python.replace('.', '')}", "abi3", "none"):
            options += ["--abi", abi]
        return options + [part for name in platforms for part in ("--platform", name)]
