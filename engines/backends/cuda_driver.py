"""The CUDA driver's own library by ctypes: which GPU is here, device memory, streams, graphs.

Not yet verified on hardware; tested against a stand-in library with the same C functions. TensorRT
and kernels of any origin share the device's primary context. Every return code is checked, and the
driver's own name for it is in the exception.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import InternalError, TemporaryError, UnavailableError

LIBRARY: Final = "libcuda.so.1"
OUT_OF_MEMORY: Final = 2
_TEGRA_RELEASE = Path("/etc/nv_tegra_release")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

# Function -> argument types, as in cuda.h; all return CUresult.
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}


@dataclass(frozen=True)
class Gpu:
    """A GPU: name, compute capability as in (8, 7), CUDA version of the driver as in (12, 6)."""

    name: str
    compute_capability: tuple[int, int]
    driver_cuda: tuple[int, int]


class CudaDriver:
    """The driver on one device, its primary context current in the calling thread.

    Args:
        device: Number of the device.
        library: Name or path of the driver's library.

    Raises:
        UnavailableError: No driver, no such device, or a driver that is too old.
    """

    def __init__(self, *, device: int = 0, library: str = LIBRARY) -> None:
        self._device = c_int(device)
        self._lib = _load(library)
        self.call("cuInit", 0)
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        if not 0 <= device < count.value:
            raise UnavailableError(
                f"there is no CUDA device {device}, the driver sees {count.value}",
                mend="check with nvidia-smi; in a container, pass the GPU on",
            )
        self.call("cuDeviceGet", byref(self._device), device)
        self._context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)
        self.make_current()

    def gpu(self) -> Gpu:
        """Which GPU this is."""
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), self._device)
        version = c_int()
        self.call("cuDriverGetVersion", byref(version))
        return Gpu(
            name=name.value.decode(errors="replace"),
            compute_capability=(self._attribute(_MAJOR), self._attribute(_MINOR)),
            driver_cuda=(version.value // 1000, version.value % 1000 // 10),
        )

    def make_current(self) -> None:
        """Let the calling thread work in the device's context; once for each thread."""
        self.call("cuCtxSetCurrent", self._context)

    def free_bytes(self) -> int:
        """Device memory that is free, in bytes; on a Jetson it is the board's memory."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """Address of `size` fresh bytes of device memory.

        Raises:
            TemporaryError: Out of device memory.
        """
        address = c_uint64()
        self.call("cuMemAlloc_v2", byref(address), max(size, 1), asked=size)
        return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        self.call("cuMemFree_v2", address)

    def new_stream(self) -> int:
        """Handle of a stream that does not wait for the default one."""
        stream = c_void_p()
        self.call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        return int(stream.value or 0)

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""
        self.call("cuStreamDestroy_v2", stream)

    def synchronise(self, stream: int) -> None:
        """Wait until all work of the stream is done."""
        self.call("cuStreamSynchronize", stream)

    def upload(self, address: int, array: NDArray[np.float32], stream: int) -> None:
        """Copy a contiguous array to the device; it must stay unchanged until synchronised."""
        self.call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[np.float32], address: int, stream: int) -> None:
        """Copy from the device into a contiguous array; it is valid once synchronised."""
        self.call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, stream)

    def begin_capture(self, stream: int) -> None:
        """Record what is put on the stream instead of doing it."""
        self.call("cuStreamBeginCapture_v2", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """Handle of an executable graph of what was recorded."""
        graph, executable = c_void_p(), c_void_p()
        self.call("cuStreamEndCapture", stream, byref(graph))
        try:
            self.call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self.call("cuGraphDestroy", graph)
        return int(executable.value or 0)

    def launch_graph(self, graph: int, stream: int) -> None:
        """Put a recorded graph on a stream."""
        self.call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Give a graph back."""
        self.call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """Let go of the context; calling it twice is harmless."""
        if self._context:
            self._context = c_void_p()
            self.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def call(self, function: str, *arguments: Any, asked: int | None = None) -> None:
        """Call a driver function and check what it returns.

        Args:
            function: Its name in cuda.h.
            arguments: As there.
            asked: Bytes that were asked for, for the message.

        Raises:
            TemporaryError: Out of device memory.
            UnavailableError: There is no usable device.
            InternalError: Any other code.
        """
        code = int(getattr(self._lib, function)(*arguments))
        if code == 0:
            return
        name = self._text("cuGetErrorName", code)
        what = f"{function} failed: {name} ({code}), {self._text('cuGetErrorString', code)}"
        if code == OUT_OF_MEMORY:
            size = "" if asked is None else f"; {asked} bytes were asked for"
            raise TemporaryError(
                f"out of device memory: {what}{size}",
                where="CUDA driver",
                mend="end other programs that use the GPU, or build the engine for fewer cameras",
            )
        if function in ("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain"):
            raise UnavailableError(
                what, where="CUDA driver", mend="check the driver with nvidia-smi, then restart"
            )
        raise InternalError(what, where="CUDA driver", mend="restart; see dmesg for Xid errors")

    def _attribute(self, number: int) -> int:
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), number, self._device)
        return value.value

    def _text(self, function: str, code: int) -> str:
        text = c_char_p()
        found = getattr(self._lib, function)(code, byref(text))
        return text.value.decode() if found == 0 and text.value else "unknown code"


def tegra_release(file: Path = _TEGRA_RELEASE) -> str:
    """L4T release of a Jetson, as in ``R36 (release), REVISION: 4.0``; empty elsewhere."""
    try:
        first = file.read_text(errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""
    return ", ".join(part.strip(" #") for part in first.split(",")[:2])


def _load(library: str) -> Any:
    try:
        loaded = ctypes.CDLL(library)
    except OSError as error:
        raise UnavailableError(
            f"there is no NVIDIA driver on this machine: {error}",
            mend="install the driver (a Jetson has it from JetPack), or run on the CPU with "
            "--backend onnxruntime-cpu",
        ) from error
    missing = [name for name in _SIGNATURES if not hasattr(loaded, name)]
    if missing:
        raise UnavailableError(
            f"the NVIDIA driver is too old: it has no {missing[0]}",
            where=library,
            mend="install a driver for CUDA 12.6 or newer",
        )
    for name, arguments in _SIGNATURES.items():
        getattr(loaded, name).argtypes = arguments
        getattr(loaded, name).restype = c_int
    for name in ("cuGetErrorName", "cuGetErrorString"):
        getattr(loaded, name).argtypes = (c_int, POINTER(c_char_p))
        getattr(loaded, name).restype = c_int
    return loaded
