"""The kernels: which file holds each one, and what parameters it takes, read from the source."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from edge.vision.cuda.device import Argument, Buffer
from engines.errors import InternalError

FOLDER = Path(__file__).resolve().parent

# The letters are those of Python's struct module, which pycuda takes as well.
POINTER, INT, FLOAT, DOUBLE = "P", "i", "f", "d"
_SCALARS = {"int": INT, "float": FLOAT, "double": DOUBLE}
_KERNEL = re.compile(
    r'extern "C" __global__ void\s+(?:__launch_bounds__\(\d+\)\s+)?(\w+)\s*\(([^)]*)\)'
)


@dataclass(frozen=True)
class Kernel:
    """One kernel.

    Attributes:
        name: As in the source.
        file: The `.cu` file.
        parameters: One letter for each parameter: P pointer, i int, f float, d double.
    """

    name: str
    file: Path
    parameters: str

    def check(self, arguments: tuple[Argument, ...]) -> None:
        """Refuse arguments that are not those of the source's parameter list.

        Raises:
            InternalError: Too many, too few, or of another kind.
        """
        given = "".join(
            POINTER if isinstance(a, Buffer) else INT if isinstance(a, int) else FLOAT
            for a in arguments
        )
        if given != self.parameters.replace(DOUBLE, FLOAT):
            raise InternalError(
                f"kernel {self.name} takes {self.parameters}, it was given {given}",
                where=str(self.file),
            )


def sources() -> list[Path]:
    """All `.cu` files, sorted."""
    return sorted(FOLDER.glob("*.cu"))


@functools.cache
def kernels() -> dict[str, Kernel]:
    """All kernels by name."""
    found = {}
    for file in sources():
        for name, parameters in _KERNEL.findall(file.read_text(encoding="utf-8")):
            letters = [_letter(parameter, file) for parameter in parameters.split(",")]
            found[name] = Kernel(name, file, "".join(letters))
    return found


def kernel(name: str) -> Kernel:
    """One kernel by name.

    Raises:
        InternalError: There is none.
    """
    try:
        return kernels()[name]
    except KeyError:
        raise InternalError(f"there is no kernel {name}", where=str(FOLDER)) from None


def _letter(parameter: str, file: Path) -> str:
    if "*" in parameter:
        return POINTER
    kind = parameter.split()[-2]
    if kind not in _SCALARS:
        raise InternalError(f"parameter {parameter.strip()!r} has no known type", where=str(file))
    return _SCALARS[kind]
