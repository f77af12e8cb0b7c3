"""A GPU in memory: a stand-in for the CUDA driver, and one for the TensorRT module.

The driver is a small C library with the real one's functions, on host memory. The TensorRT module
has exactly the members that 10.3 to 11.4 share (a name outside that list raises), writes "plans"
with a real header around the ONNX file, and runs them with ONNX Runtime on the driver's memory: so
numbers, shapes, parity and errors are real, and only the kernels are not.
"""

# ruff: noqa: ARG002  the library decides which arguments a method takes
from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

HERE = Path(__file__).parent
MEMBERS = json.loads((HERE.parent / "engines" / "tensorrt_members.json").read_text())


def shared_members(name: str) -> set[str]:
    """Members of a class that every recorded version has."""
    return set.intersection(*(set(classes.get(name, ())) for classes in MEMBERS.values()))


def build_fake_cuda(folder: Path) -> Path:
    """Compile the driver's stand-in; a fraction of a second."""
    library = folder / "libfakecuda.so"
    source = HERE / "fake_cuda.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


class FakeCuda:
    """Handles of the compiled stand-in."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.lib = ctypes.CDLL(self.path)
        self.lib.fake_set_limit.argtypes = (ctypes.c_size_t,)
        self.lib.fake_fail.argtypes = (ctypes.c_char_p, ctypes.c_int)
        self.lib.fake_reset()

    def fail(self, function: str, code: int) -> None:
        self.lib.fake_fail(function.encode(), code)


def _guard(guarded: str) -> type:
    """Base class whose public names are checked against what all versions have."""
    allowed = shared_members(guarded)

    class Guarded:
        def __init_subclass__(cls, **keywords: Any) -> None:
            super().__init_subclass__(**keywords)
            extra = {name for name in vars(cls) if not name.startswith("_")} - allowed
            assert not extra, f"{guarded} has no {extra} in every version"

        def __setattr__(self, name: str, value: object) -> None:
            assert name.startswith("_") or name in allowed, f"{guarded} has no {name} everywhere"
            object.__setattr__(self, name, value)

    return Guarded


class FakeTensorRt:
    """The module. Attributes that begin with an underscore steer it from a test."""

    def __init__(  # noqa: C901  one small class after the other
        self, cuda: FakeCuda | None = None, *, version: str = "10.3.0.26"
    ) -> None:
        self.__version__ = version
        self._cuda = cuda
        self._faults: set[str] = set()
        self._says: list[tuple[str, str]] = []
        self._seen = SimpleNamespace(workspace=0, flags=None, level=None, profile=None, timing=b"")
        self._runs: list[int] = []
        severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.TensorIOMode = SimpleNamespace(NONE=0, INPUT=1, OUTPUT=2)
        self.DataType = SimpleNamespace(FLOAT="float", HALF="half")
        fake = self

        class ILogger:
            Severity = severity

        class IProgressMonitor:
            pass

        class Builder(_guard("Builder")):  # type: ignore[misc]
            def __init__(self, logger: Any) -> None:
                self._logger = logger
                if "no builder" in fake._faults:
                    logger.log(severity.ERROR, "CUDA initialization failure with error: 35")
                    raise TypeError("pybind11::init(): factory function returned nullptr")

            def create_network(self, flags: int) -> Any:
                fake._seen.flags = flags
                return Network()

            def create_builder_config(self) -> Any:
                return Config()

            def create_optimization_profile(self) -> Any:
                return OptimizationProfile()

            def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
                for severity_name, text in fake._says:
                    self._logger.log(getattr(severity, severity_name), text)
                if "no plan" in fake._faults:
                    return None
                if any(word in str(network._onnx_name) for word in fake._faults):
                    self._logger.log(severity.ERROR, "no implementation for this precision")
                    return None
                monitor = config._monitor
                if monitor is not None:
                    monitor.phase_start("Building engine", None, 2)
                    monitor.phase_start("Timing", "Building engine", 3)
                    assert monitor.step_complete("Timing", 0)
                    monitor.phase_finish("Timing")
                    assert monitor.step_complete("Building engine", 0)
                    monitor.phase_finish("Building engine")
                return fake_plan(network._onnx, fake._seen.profile[2][0], version=fake.__version__)

        class Network(_guard("INetworkDefinition")):  # type: ignore[misc]
            _onnx = b""
            _onnx_name = ""

            @property
            def num_inputs(self) -> int:
                return len(onnx.load_from_string(self._onnx).graph.input)

            def get_input(self, index: int) -> Any:
                item = onnx.load_from_string(self._onnx).graph.input[index]
                sizes = [d.dim_value or -1 for d in item.type.tensor_type.shape.dim]
                return SimpleNamespace(name=item.name, shape=tuple(sizes))

        class Config(_guard("IBuilderConfig")):  # type: ignore[misc]
            _monitor: Any = None

            def set_memory_pool_limit(self, pool: str, size: int) -> None:
                fake._seen.workspace = size

            @property
            def builder_optimization_level(self) -> int:
                return int(fake._seen.level)

            @builder_optimization_level.setter
            def builder_optimization_level(self, level: int) -> None:
                fake._seen.level = level

            @property
            def progress_monitor(self) -> Any:
                return self._monitor

            @progress_monitor.setter
            def progress_monitor(self, monitor: Any) -> None:
                self._monitor = monitor

            def add_optimization_profile(self, profile: Any) -> int:
                return -1 if "no profile" in fake._faults else 0

            def create_timing_cache(self, data: bytes) -> Any:
                return TimingCache(data)

            def set_timing_cache(self, cache: Any, *, ignore_mismatch: bool) -> bool:
                assert ignore_mismatch is False
                return bool(cache._data in (b"", b"measured here"))

        class OptimizationProfile(_guard("IOptimizationProfile")):  # type: ignore[misc]
            def set_shape(self, name: str, small: Any, usual: Any, large: Any) -> None:
                fake._seen.profile = (small, usual, large)

        class TimingCache(_guard("ITimingCache")):  # type: ignore[misc]
            def __init__(self, data: bytes) -> None:
                self._data = data
                fake._seen.timing = data

            def serialize(self) -> bytes:
                return b"measured here"

        class OnnxParser(_guard("OnnxParser")):  # type: ignore[misc]
            def __init__(self, network: Any, logger: Any) -> None:
                self._network = network

            def parse(self, data: bytes) -> bool:
                try:
                    model = onnx.load_from_string(data)
                except Exception:  # noqa: BLE001  whatever protobuf raises
                    return False
                if "refuse" in fake._faults or not model.graph.node:
                    return False
                self._network._onnx = data
                self._network._onnx_name = model.graph.name + (
                    " int8" if b"QuantizeLinear" in data else ""
                )
                return True

            @property
            def num_errors(self) -> int:
                return int("refuse" in fake._faults)

            def get_error(self, index: int) -> Any:
                return SimpleNamespace(
                    node_operator=lambda: "Conv",
                    node_name=lambda: "first",
                    desc=lambda: "shiftIsAllZeros(zeroPoint)",
                )

        class Runtime(_guard("Runtime")):  # type: ignore[misc]
            def __init__(self, logger: Any) -> None:
                self._logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                try:
                    largest = int.from_bytes(plan[28:32], "little")
                    return Engine(bytes(plan[32:]), largest, self._logger)
                except Exception:  # noqa: BLE001  whatever ONNX Runtime raises
                    self._logger.log(severity.ERROR, "Serialization assertion failed")
                    return None

        class Engine(_guard("ICudaEngine")):  # type: ignore[misc]
            def __init__(self, data: bytes, largest: int, logger: Any) -> None:
                self._session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
                self._largest = largest
                self._logger = logger
                self._tensors = [*self._session.get_inputs(), *self._session.get_outputs()]

            @property
            def num_io_tensors(self) -> int:
                return len(self._tensors)

            def get_tensor_name(self, index: int) -> str:
                return str(self._tensors[index].name)

            def get_tensor_mode(self, name: str) -> int:
                return 1 if name in [i.name for i in self._session.get_inputs()] else 2

            def get_tensor_dtype(self, name: str) -> str:
                return "half" if "half output" in fake._faults else "float"

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                (tensor,) = [t for t in self._tensors if t.name == name]
                return tuple(d if isinstance(d, int) else -1 for d in tensor.shape)

            def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
                rest = self.get_tensor_shape(name)[1:]
                return [(1, *rest), (1, *rest), (self._largest, *rest)]

            def create_execution_context(self) -> Any:
                if "no context" in fake._faults:
                    self._logger.log(severity.ERROR, "Requested amount of GPU memory (9) failed")
                    return None
                return Context(self)

        class Context(_guard("IExecutionContext")):  # type: ignore[misc]
            def __init__(self, engine: Any) -> None:
                self._engine = engine
                self._addresses: dict[str, int] = {}
                self._shape: tuple[int, ...] = ()

            def set_tensor_address(self, name: str, address: int) -> bool:
                self._addresses[name] = address
                return True

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                self._shape = shape
                return "no shape" not in fake._faults

            def execute_async_v3(self, stream: int) -> bool:
                assert stream
                assert fake._cuda is not None
                if "no run" in fake._faults:
                    self._engine._logger.log(severity.ERROR, "Cuda Runtime (an illegal access)")
                    return False
                if fake._cuda.lib.fake_capturing():
                    fake._recorded = (self, self._shape)
                    return True
                return self._compute(self._shape)

            def _compute(self, shape: tuple[int, ...]) -> bool:
                session = self._engine._session
                given = session.get_inputs()[0].name
                batch = _view(self._addresses[given], shape).copy()
                fake._runs.append(shape[0])
                for tensor, value in zip(
                    session.get_outputs(), session.run(None, {given: batch}), strict=True
                ):
                    _view(self._addresses[tensor.name], value.shape)[:] = value
                return True

        self.ILogger = ILogger
        self.IProgressMonitor = IProgressMonitor
        self.Builder = Builder
        self.OnnxParser = OnnxParser
        self.Runtime = Runtime
        self._recorded: Any = None
        self._launcher = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64)(self._launch)
        self._graphs: dict[int, Any] = {}
        if cuda is not None:
            cuda.lib.fake_on_launch(self._launcher)

    def _launch(self, graph: int) -> int:
        context, shape = self._graphs.setdefault(graph, self._recorded)
        return 0 if context._compute(shape) else 700


def fake_plan(network: bytes, largest: int, *, version: str, tag: bytes = b"ftrt") -> bytes:
    """A plan of the stand-in: real header, largest batch, ONNX file."""
    numbers = bytes(int(part) for part in version.split("."))
    return tag + bytes(20) + numbers + largest.to_bytes(4, "little") + network


def _view(address: int, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (size,)).reshape(shape)
