"""NVRTC, CUDA's run-time compiler, by ctypes: a `.cu` file in, a cubin out. It needs no GPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from engines.errors import InternalError, UnavailableError

OPTIONS = (
    # As the CPU computes: one rounding for each product and each sum. fmaf() is still fused.
    "--fmad=false",
    "--std=c++17",
    "--extra-device-vectorization",
)
MEND = (
    "install CUDA's NVRTC: the package cuda-nvrtc of JetPack or the CUDA toolkit, "
    "or `pip install nvidia-cuda-nvrtc-cu12` (CUDA 12) or `nvidia-cuda-nvrtc` (CUDA 13)"
)
_SYSTEM_FOLDERS = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/aarch64-linux/lib")
_PACKAGE_FOLDERS = ("cu13/lib", "cuda_nvrtc/lib")


class Nvrtc:
    """One NVRTC library.

    Args:
        library: Path of `libnvrtc.so.*`, or a name that the dynamic linker finds.

    Raises:
        UnavailableError: It cannot be loaded.
    """

    def __init__(self, library: Path | str) -> None:
        self._where = str(library)
        try:
            # Some versions only find their built-in functions if these are loaded already.
            for builtins in sorted(Path(library).parent.glob("libnvrtc-builtins.so.*")):
                ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise UnavailableError(
                f"NVRTC cannot be loaded: {error}", where=self._where, mend=MEND
            ) from error
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @property
    def version(self) -> tuple[int, int]:
        """(major, minor) of CUDA."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    @property
    def architectures(self) -> tuple[int, ...]:
        """Compute capabilities that it compiles for, as 87 for 8.7; ascending."""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return tuple(sorted(found))

    def compile(self, source: str, *, name: str, architecture: int) -> bytes:
        """Compile one source for one GPU.

        Args:
            source: CUDA C++ without headers.
            name: Of the source, for messages.
            architecture: Compute capability, as 87 for 8.7.

        Returns:
            The cubin.

        Raises:
            UnavailableError: This NVRTC does not know the GPU.
            InternalError: The source does not compile; the message is the compiler's.
        """
        if architecture not in self.architectures:
            known = ", ".join(map(str, self.architectures))
            major, minor = self.version
            raise UnavailableError(
                f"the GPU has compute capability {architecture / 10:.1f}, "
                f"NVRTC {major}.{minor} compiles for {known}",
                where=self._where,
                mend="install the NVRTC that belongs to the GPU's driver",
            )
        options = [f"--gpu-architecture=sm_{architecture}", *OPTIONS]
        program = ctypes.c_void_p()
        self._call(
            "nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None,
            None,
        )  # fmt: skip
        try:
            return self._cubin(program, name, options)
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _cubin(self, program: ctypes.c_void_p, name: str, options: Sequence[str]) -> bytes:
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        if self._library.nvrtcCompileProgram(program, len(options), array):
            log = self._output(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
            raise InternalError(f"{name} does not compile: {log.strip()}", where=self._where)
        return self._output(program, "nvrtcGetCUBIN")

    def _output(self, program: ctypes.c_void_p, getter: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{getter}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(getter, program, text)
        return text.raw

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            reason = self._library.nvrtcGetErrorString(code).decode()
            raise InternalError(f"{function} failed: {reason}", where=self._where)


def installed() -> list[Path]:
    """NVRTC libraries on this machine: the system's first, then those of Python packages."""
    folders = [Path(folder) for folder in _SYSTEM_FOLDERS]
    package = importlib.util.find_spec("nvidia")
    for root in package.submodule_search_locations or () if package else ():
        folders += [Path(root) / folder for folder in _PACKAGE_FOLDERS]
    found = [file for folder in folders for file in sorted(folder.glob("libnvrtc.so.*"))]
    # libnvrtc.so.12, .so.12.6.85 and links to them are one library.
    return [file for file in found if re.fullmatch(r"libnvrtc\.so\.\d+", file.name)]


def open_nvrtc(
    candidates: Iterable[Path | str] | None = None, *, driver: int | None = None
) -> Nvrtc:
    """The first NVRTC that the driver can follow.

    Args:
        candidates: Libraries to take instead of the installed ones.
        driver: Major CUDA version of the GPU's driver: it loads no cubin of a later one.

    Raises:
        UnavailableError: There is none.
    """
    if candidates is None:
        named = ctypes.util.find_library("nvrtc")
        candidates = [*installed(), *([named] if named else [])]
    newer = []
    for library in candidates:
        nvrtc = Nvrtc(library)
        if driver is None or nvrtc.version[0] <= driver:
            return nvrtc
        newer.append("{}.{}".format(*nvrtc.version))
    if newer:
        raise UnavailableError(
            f"NVRTC {', '.join(newer)} is newer than the GPU's driver, which is of CUDA {driver}",
            mend=f"install the NVRTC of CUDA {driver}, or a newer driver",
        )
    raise UnavailableError("NVRTC, which compiles the CUDA kernels, is not installed", mend=MEND)
