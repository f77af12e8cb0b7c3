"""The launcher against a stand-in for pycuda: real cubins and argument packing, no GPU.

The stand-in keeps pycuda's contract as its documentation has it, and runs each kernel through the
CPU shim. What only hardware can show stays open.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import struct
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.vision import flow as cpu
from edge.vision.cuda.flow import DenseFlow
from edge.vision.cuda.kernels import kernels, sources
from edge.vision.cuda.nvrtc import Nvrtc, installed
from edge.vision.cuda.pycuda_device import PycudaDevice, open_device
from engines.errors import InternalError, UnavailableError, UsageError

TOTAL = 64 << 20


class FakeError(Exception):
    """pycuda.driver.Error."""


class FakeMemoryError(FakeError):
    """pycuda.driver.MemoryError."""


class FakeAllocation:
    """pycuda.driver.DeviceAllocation: an int of its address."""

    used = 0

    def __init__(self, nbytes: int) -> None:
        if FakeAllocation.used + nbytes > TOTAL:
            raise FakeMemoryError("out of memory")
        FakeAllocation.used += nbytes
        self.memory = (ctypes.c_ubyte * nbytes)()

    def __int__(self) -> int:
        return ctypes.addressof(self.memory)

    def free(self) -> None:
        assert FakeContext.depth, "nothing can be freed without a context"
        FakeAllocation.used -= len(self.memory)
        self.memory = (ctypes.c_ubyte * 0)()

    def __del__(self) -> None:
        FakeAllocation.used -= len(getattr(self, "memory", b""))


class FakeFunction:
    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self._launch = getattr(library, f"{name}__launch")
        self._format = ""

    def prepare(self, format: str) -> FakeFunction:  # noqa: A002 -- pycuda's name
        self._format = format
        return self

    def prepared_async_call(
        self, grid: tuple[int, ...], block: tuple[int, ...], stream: object, *values: Any
    ) -> None:
        assert isinstance(stream, FakeStream)
        assert (grid[1:], block[1:]) == ((1,), (1, 1))
        if block[0] > 1024:
            raise FakeError("invalid configuration argument")
        packed = [ctypes.create_string_buffer(struct.pack(letter, value), 8)
                  for letter, value in zip(self._format, values, strict=True)]  # fmt: skip
        pointers = (ctypes.c_void_p * len(packed))(*[ctypes.addressof(one) for one in packed])
        assert self._launch(grid[0], block[0], pointers) == 0


class FakeStream:
    handle = 7

    def synchronize(self) -> None:
        """Everything is done already."""


class FakeEvent:
    """Tells its number as its time in milliseconds, once it has happened."""

    recorded = 0
    waited = False

    def record(self, stream: object) -> None:
        assert isinstance(stream, FakeStream)
        FakeEvent.recorded += 1
        self.number = FakeEvent.recorded

    def synchronize(self) -> None:
        self.waited = True

    def time_till(self, other: FakeEvent) -> float:
        if not other.waited:
            raise FakeError("device not ready")
        return float(other.number - self.number)


class FakeContext:
    depth = 0

    def push(self) -> None:
        FakeContext.depth += 1

    def pop(self) -> None:
        FakeContext.depth -= 1

    def detach(self) -> None:
        """Gone."""


class FakeGpu:
    def __init__(self, index: int) -> None:
        assert index == 0

    @staticmethod
    def count() -> int:
        return 1

    def name(self) -> str:
        return "Stand-in"

    def compute_capability(self) -> tuple[int, int]:
        return 8, 7

    def retain_primary_context(self) -> FakeContext:
        return FakeContext()


def fake_driver(library: ctypes.CDLL) -> Any:
    def module_from_buffer(cubin: bytes) -> Any:
        if not cubin.startswith(b"\x7fELF"):
            raise FakeError("device kernel image is invalid")

        def get_function(name: str) -> FakeFunction:
            assert f".text.{name}".encode() in cubin
            return FakeFunction(library, name)

        return types.SimpleNamespace(get_function=get_function)

    def to_device(address: int, array: np.ndarray, stream: object) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def from_device(array: np.ndarray, address: int, stream: object) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    driver = types.ModuleType("pycuda.driver")
    vars(driver).update(
        Error=FakeError,
        MemoryError=FakeMemoryError,
        Device=FakeGpu,
        Stream=FakeStream,
        Event=FakeEvent,
        init=lambda: None,
        get_driver_version=lambda: 12060,
        mem_alloc=FakeAllocation,
        mem_get_info=lambda: (TOTAL - FakeAllocation.used, TOTAL),
        memcpy_htod_async=to_device,
        memcpy_dtoh_async=from_device,
        module_from_buffer=module_from_buffer,
    )
    return driver


@pytest.fixture
def driver(kernel_library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Any:
    package = types.ModuleType("pycuda")
    package.driver = fake_driver(kernel_library)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    return package.driver


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Nvrtc:
    libraries = installed()
    if not libraries:
        pytest.skip("no NVRTC here (extra dev)")
    return Nvrtc(libraries[0])


@pytest.fixture
def launcher(
    driver: Any, compiler: Nvrtc, tmp_path_factory: pytest.TempPathFactory
) -> PycudaDevice:
    return PycudaDevice(nvrtc=compiler, cache=tmp_path_factory.getbasetemp() / "cubins")


def test_the_flow_runs_through_the_launcher(launcher: PycudaDevice) -> None:
    pair = np.random.default_rng(0).integers(0, 256, (2, 72, 96), dtype=np.uint8)
    flow = DenseFlow(launcher).calc(*pair)
    assert np.abs(flow - cpu.DenseFlow().calc(*pair)).mean() < 0.1
    assert launcher.name == "cuda:0 Stand-in sm_87"
    launcher.close()
    launcher.close()
    assert FakeContext.depth == 0


def test_the_device_of_this_machine_keeps_its_kernels(
    driver: Any, compiler: Nvrtc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = open_device()
    kept = {file.name.split("-sm_87-")[0] for file in tmp_path.rglob("*.cubin")}
    assert kept == {file.stem for file in sources()}
    device.close()


def test_every_kernel_is_loaded_with_its_own_parameters(launcher: PycudaDevice) -> None:
    loaded = {name: one._format for name, one in launcher._functions.items()}
    assert loaded == {name: one.parameters for name, one in kernels().items()}


def test_memory_is_reused_and_never_while_in_use(launcher: PycudaDevice) -> None:
    one, two = (launcher.upload(np.full(1000, n, np.float32)) for n in range(2))
    assert one.address != two.address
    view, address = one.part(0), one.address
    del one
    gc.collect()
    assert launcher.empty((1000,), np.float32).address != address  # `view` still looks at it
    del view
    gc.collect()
    assert launcher.empty((1000,), np.float32).address == address
    np.testing.assert_array_equal(launcher.download(two), np.ones(1000, np.float32))


def test_closing_frees_what_is_still_referred_to(launcher: PycudaDevice) -> None:
    gc.collect()
    before = FakeAllocation.used
    held, dropped = (launcher.empty((1 << 20,), np.uint8) for _ in range(2))
    del dropped
    gc.collect()
    assert FakeAllocation.used == before + (2 << 20)  # one in use, one kept for the next
    launcher.close()
    assert FakeAllocation.used == before
    assert held.nbytes == 1 << 20


def test_out_of_memory_names_both_sides(launcher: PycudaDevice) -> None:
    with pytest.raises(UnavailableError, match=r"of 64 MiB left, 100\.0 more") as caught:
        launcher.empty((100 << 20,), np.uint8)
    assert "smaller working size" in str(caught.value.mend)


def test_an_array_that_does_not_fit_is_refused(launcher: PycudaDevice) -> None:
    buffer = launcher.empty((3,), np.float32)
    for wrong in (np.zeros(4, np.float32), np.zeros(3, np.float64)):
        with pytest.raises(InternalError, match="does not fit"):
            launcher.upload(wrong, into=buffer)


def test_a_failed_launch_names_the_kernel(launcher: PycudaDevice) -> None:
    picture = launcher.upload(np.zeros(10, np.uint8))
    with pytest.raises(InternalError, match="in moved_pixels: invalid configuration"):
        launcher.launch("moved_pixels", 1, 2048, picture, picture, picture, 10, 15)
    with pytest.raises(InternalError, match="takes PPPii, it was given P"):
        launcher.launch("moved_pixels", 1, 32, picture)


def test_marks_and_facts_come_from_the_driver(launcher: PycudaDevice) -> None:
    first, _, third = (launcher.mark() for _ in range(3))
    assert launcher.elapsed_ms(first, third) == 2.0
    facts = launcher.facts()
    assert (facts.name, facts.compute_capability, facts.driver_cuda) == ("Stand-in", "8.7", "12.6")
    assert facts.memory_mib == 64
    before = facts.free_mib
    held = launcher.empty((8 << 20,), np.uint8)
    assert before - launcher.facts().free_mib == held.nbytes >> 20
    assert launcher.stream == FakeStream.handle


def test_another_thread_is_refused(launcher: PycudaDevice) -> None:
    caught: list[BaseException] = []

    def use() -> None:
        try:
            launcher.empty((3,), np.float32)
        except InternalError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "did not open it" in str(caught[0])


def test_a_gpu_that_is_not_there_is_named(driver: Any, compiler: Nvrtc) -> None:
    with pytest.raises(UsageError, match="no GPU 3, this machine has 1"):
        PycudaDevice(3, nvrtc=compiler)


def test_a_driver_that_does_not_start_is_named(driver: Any, compiler: Nvrtc) -> None:
    def fail() -> None:
        raise FakeError("cuInit failed: no CUDA-capable device is detected")

    driver.init = fail
    with pytest.raises(UnavailableError, match="no CUDA-capable device") as caught:
        PycudaDevice(nvrtc=compiler)
    assert caught.value.mend


def test_a_driver_older_than_the_compiler_is_named(
    driver: Any, compiler: Nvrtc, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.get_driver_version = lambda: 11080
    with pytest.raises(UnavailableError, match="newer than the GPU's driver, which is of CUDA 11"):
        PycudaDevice()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ModuleNotFoundError("No module named 'pycuda'"), "pycuda is not installed"),
        (ImportError("libcuda.so.1: cannot open shared object file"), "cannot load the NVIDIA"),
    ],
)
def test_without_pycuda_or_driver_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, failure: ImportError, message: str
) -> None:
    real: Callable[..., Any] = builtins.__import__

    def failing(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pycuda"):
            raise failure
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", failing)
    with pytest.raises(UnavailableError, match=message) as caught:
        PycudaDevice()
    assert caught.value.mend


def test_importing_the_package_needs_no_pycuda() -> None:
    assert "pycuda" not in sys.modules
