"""The `Device` on a real GPU, by pycuda. The only module of `edge` that imports it.

NOT YET VERIFIED ON HARDWARE.
"""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.cuda.cubins import cache_folder, load_cubins
from edge.vision.cuda.device import Argument, Buffer, DeviceFacts
from edge.vision.cuda.kernels import kernel, kernels
from edge.vision.cuda.nvrtc import Nvrtc, open_nvrtc
from engines.errors import InternalError, UnavailableError, UsageError


def open_device(index: int = 0) -> PycudaDevice:
    """The GPU of this machine, with its kernels compiled once and kept in the user's cache.

    Raises:
        UnavailableError: pycuda, the driver, the GPU or NVRTC is missing.
        UsageError: There is no GPU of this number.
    """
    return PycudaDevice(index, cache=cache_folder())


class PycudaDevice:
    """One GPU with one stream, in the GPU's primary context, which TensorRT uses as well.

    Use it from the thread that opened it: CUDA contexts belong to threads.

    Args:
        index: Which GPU.
        nvrtc: The compiler; None takes the installed one.
        cache: Folder for compiled kernels; None compiles at each start.

    Raises:
        UnavailableError: pycuda, the driver, the GPU or NVRTC is missing.
        UsageError: There is no GPU of this number.
    """

    def __init__(
        self, index: int = 0, *, nvrtc: Nvrtc | None = None, cache: Path | None = None
    ) -> None:
        self._cuda = _import_driver()
        device = self._open(index)
        compiler = nvrtc or open_nvrtc(driver=self._cuda.get_driver_version() // 1000)
        major, minor = device.compute_capability()
        cubins = load_cubins(compiler, 10 * major + minor, cache=cache)
        self._facts = {
            "name": device.name(),
            "compute_capability": f"{major}.{minor}",
            "driver_cuda": _cuda_version(self._cuda.get_driver_version()),
            "nvrtc": ".".join(map(str, compiler.version)),
        }
        self.name = f"cuda:{index} {device.name()} sm_{major}{minor}"
        self._thread = threading.get_ident()
        self._context: Any = device.retain_primary_context()
        self._context.push()
        self._stream: Any = self._cuda.Stream()
        self.stream = int(self._stream.handle)
        """Handle of the stream, for libraries that run on it."""
        self._functions = self._load(cubins)
        # Freed memory by size: allocating waits for the GPU, and the sizes repeat each frame. One
        # stream runs everything in order, so a block may be taken again at once.
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._blocks: weakref.WeakSet[_Block] = weakref.WeakSet()

    def empty(self, shape: Sequence[int], dtype: Any) -> Buffer:
        """Memory with undefined contents.

        Raises:
            UnavailableError: The device has not that much left.
        """
        self._check_thread()
        kind = np.dtype(dtype)
        nbytes = max(1, int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
        free = self._free[nbytes]
        owner = _Block(free.pop() if free else self._allocate(nbytes))
        self._blocks.add(owner)
        weakref.finalize(owner, free.append, owner.allocation).atexit = False
        return Buffer(int(owner.allocation), tuple(shape), kind, owner)

    def upload(self, array: NDArray[Any], into: Buffer | None = None) -> Buffer:
        """Copy an array to the device, into new memory unless `into` is given."""
        array = np.ascontiguousarray(array)
        buffer = into or self.empty(array.shape, array.dtype)
        if (buffer.shape, buffer.dtype) != (array.shape, array.dtype):
            raise InternalError(
                f"a {array.dtype} array of {array.shape} does not fit "
                f"into a {buffer.dtype} buffer of {buffer.shape}"
            )
        if array.size:
            self._try(self._cuda.memcpy_htod_async, buffer.address, array, self._stream)
        return buffer

    def download(self, buffer: Buffer) -> NDArray[Any]:
        """Wait for all earlier work and copy a buffer back; a new array."""
        self._check_thread()
        result = np.empty(buffer.shape, buffer.dtype)
        if result.size:
            self._try(self._cuda.memcpy_dtoh_async, result, buffer.address, self._stream)
        self._try(self._stream.synchronize)
        return result

    def launch(self, name: str, grid: int, block: int, *arguments: Argument) -> None:
        """Start a kernel by name with `grid` blocks of `block` threads.

        Raises:
            InternalError: Arguments that are not those of the kernel, or a failed launch.
        """
        self._check_thread()
        kernel(name).check(arguments)
        values = [a.address if isinstance(a, Buffer) else a for a in arguments]
        function = self._functions[name]
        self._try(
            function.prepared_async_call, (grid, 1), (block, 1, 1), self._stream, *values, what=name
        )

    def mark(self) -> Any:
        """A point in the stream's work: a CUDA event."""
        event = self._cuda.Event()
        self._try(event.record, self._stream)
        return event

    def elapsed_ms(self, first: Any, second: Any) -> float:
        """Milliseconds between two points; waits for the second one."""
        self._try(second.synchronize)
        return float(self._try(first.time_till, second))

    def facts(self) -> DeviceFacts:
        """Which GPU this is, and its memory now."""
        free, total = self._cuda.mem_get_info()
        return DeviceFacts(**self._facts, memory_mib=total >> 20, free_mib=free >> 20)

    def close(self) -> None:
        """Free everything, also what buffers still refer to; calling it twice is harmless."""
        if self._context is None:
            return
        self._check_thread()
        self._stream.synchronize()
        # Once the context is gone nothing can be freed any more.
        for allocation in (
            *(block.allocation for block in self._blocks),
            *(one for kept in self._free.values() for one in kept),
        ):
            allocation.free()
        self._free.clear()
        self._functions.clear()
        self._stream = None
        self._context.pop()
        self._context.detach()
        self._context = None

    def _open(self, index: int) -> Any:
        try:
            self._cuda.init()
            count = self._cuda.Device.count()
        except self._cuda.Error as error:
            raise UnavailableError(
                f"the NVIDIA driver does not start: {error}",
                mend="check that nvidia-smi (Jetson: tegrastats) shows a GPU, or run without CUDA",
            ) from error
        if not 0 <= index < count:
            raise UsageError(
                f"there is no GPU {index}, this machine has {count}",
                mend="choose a GPU that is there, or run without CUDA",
            )
        return self._cuda.Device(index)

    def _load(self, cubins: dict[Path, bytes]) -> dict[str, Any]:
        modules = {
            file: self._try(self._cuda.module_from_buffer, cubin, what=file.name)
            for file, cubin in cubins.items()
        }
        functions = {}
        for one in kernels().values():
            function = modules[one.file].get_function(one.name)
            functions[one.name] = function.prepare(one.parameters)
        return functions

    def _allocate(self, nbytes: int) -> Any:
        try:
            return self._cuda.mem_alloc(nbytes)
        except self._cuda.MemoryError as error:
            free, total = self._cuda.mem_get_info()
            raise UnavailableError(
                f"the GPU has {free >> 20} of {total >> 20} MiB left, {nbytes / 2**20:.1f} more "
                "are needed",
                where=self.name,
                mend="run fewer cameras, or choose a smaller working size",
            ) from error

    def _try(self, function: Any, *arguments: Any, what: str | None = None) -> Any:
        """Call into CUDA; its error also reports what failed earlier, that is how CUDA works."""
        try:
            return function(*arguments)
        except self._cuda.Error as error:
            raise InternalError(
                f"CUDA failed{f' in {what}' if what else ''}: {error}",
                where=self.name,
                mend="restart; if it comes again, run without CUDA and report it",
            ) from error

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise InternalError("a CUDA device was used from a thread that did not open it")


class _Block:
    """Keeps one allocation from being reused while a buffer refers to it."""

    def __init__(self, allocation: Any) -> None:
        self.allocation = allocation


def _cuda_version(number: int) -> str:
    """12060 is CUDA 12.6."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _import_driver() -> Any:
    try:
        import pycuda.driver  # noqa: PLC0415 -- an extra, and it needs a driver
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "pycuda is not installed",
            mend="on a machine with CUDA: export PATH=/usr/local/cuda/bin:$PATH, "
            "then pip install 'vigil[jetson]'",
        ) from error
    except ImportError as error:
        raise UnavailableError(
            f"pycuda cannot load the NVIDIA driver: {error}",
            mend="install the GPU's driver (Jetson: JetPack), or run without CUDA",
        ) from error
    return pycuda.driver
