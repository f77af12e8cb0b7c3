"""The CUDA kernels on the CPU: a `Device` of the same launcher code, for machines without a GPU.

All `.cu` files are compiled once as one C++ file behind `cuda_cpu.h`. Every buffer has guard bytes
around it and starts with a pattern that no kernel should ever read, so that a write beyond the end
fails the launch and a read of what nobody wrote shows as NaN.
"""

from __future__ import annotations

import ctypes
import subprocess
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.vision.cuda.device import Argument, Buffer
from edge.vision.cuda.kernels import DOUBLE, FLOAT, INT, kernel, kernels

HEADER = Path(__file__).with_name("cuda_cpu.h")
GUARD = 64
FLAGS = (
    "-O2", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE",
    "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas",
)  # fmt: skip
_C_TYPES: dict[str, Any] = {INT: ctypes.c_int, FLOAT: ctypes.c_float, DOUBLE: ctypes.c_double}


def build(folder: Path, files: dict[str, Sequence[str]]) -> ctypes.CDLL:
    """Compile .cu files (path -> their kernels) into one library; one run of g++."""
    lines = [f'#include "{HEADER}"']
    for number, (file, names) in enumerate(files.items()):
        lines += [f"namespace file_{number} {{", f'#include "{file}"', "}"]
        lines += [f"using file_{number}::{name};" for name in names]
    lines += [f"CUDA_CPU_EXPORT({name})" for names in files.values() for name in names]
    source, library = folder / "kernels.cpp", folder / "kernels.so"
    source.write_text("\n".join(lines) + "\n")
    subprocess.run(["g++", *FLAGS, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def build_kernels(folder: Path) -> ctypes.CDLL:
    """Compile all kernels of the project."""
    files: dict[str, list[str]] = {}
    for one in kernels().values():
        files.setdefault(str(one.file), []).append(one.name)
    return build(folder, files)


@dataclass
class ShimDevice:
    """A `Device` that runs kernels on the CPU; `reverse` runs threads and blocks backwards."""

    library: ctypes.CDLL
    reverse: bool = False
    name: str = "cpu-shim"
    stream: int = 7
    _memory: weakref.WeakValueDictionary[int, np.ndarray] = field(
        default_factory=weakref.WeakValueDictionary, repr=False
    )

    def empty(self, shape: Sequence[int], dtype: Any) -> Buffer:
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        # All ones is NaN, or -1: what nobody wrote does not look like a value.
        memory = np.full(size + 2 * GUARD, 0xFF, np.uint8)
        memory[:GUARD] = memory[GUARD + size :] = 0xA5
        self._memory[memory.ctypes.data] = memory
        return Buffer(memory.ctypes.data + GUARD, tuple(shape), kind, memory)

    def upload(self, array: np.ndarray, into: Buffer | None = None) -> Buffer:
        array = np.ascontiguousarray(array)
        buffer = into or self.empty(array.shape, array.dtype)
        assert (buffer.shape, buffer.dtype) == (array.shape, array.dtype)
        ctypes.memmove(buffer.address, array.ctypes.data, array.nbytes)
        return buffer

    def download(self, buffer: Buffer) -> np.ndarray:
        result = np.empty(buffer.shape, buffer.dtype)
        ctypes.memmove(result.ctypes.data, buffer.address, result.nbytes)
        return result

    def launch(self, name: str, grid: int, block: int, *arguments: Argument) -> None:
        one = kernel(name)
        one.check(arguments)
        assert self.run(one.name, one.parameters, grid, block, arguments) == 0, name
        for memory in list(self._memory.values()):
            assert (memory[:GUARD] == 0xA5).all(), f"{name} wrote below a buffer"
            assert (memory[-GUARD:] == 0xA5).all(), f"{name} wrote beyond a buffer"

    def run(
        self, name: str, parameters: str, grid: int, block: int, arguments: Sequence[Argument]
    ) -> int:
        """Launch without checks; returns the code that `cuda_cpu.h` explains."""
        values = [
            ctypes.c_void_p(a.address) if isinstance(a, Buffer) else _C_TYPES[letter](a)
            for letter, a in zip(parameters, arguments, strict=True)
        ]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        self.library.cuda_cpu_set_order(int(self.reverse))
        return int(getattr(self.library, f"{name}__launch")(grid, block, pointers))

    def close(self) -> None:
        self._memory.clear()
