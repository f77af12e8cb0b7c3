"""Which backend runs a network: asked for by name, or the best that is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from engines.backends.backend import Backend
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.backends.onnxruntime_cuda import OnnxRuntimeCuda
from engines.backends.tensorrt.library import TENSORRT
from engines.backends.tensorrt.runner import TensorRtBackend
from engines.bundle import Bundle
from engines.errors import DataError, UnavailableError, UsageError
from engines.manifest import sha256_of
from engines.model_spec import NetworkSpec, Precision
from engines.plan_cache import PlanCache, default_folder

AUTO = "auto"
ONNXRUNTIME_CUDA = OnnxRuntimeCuda.name
_log = structlog.get_logger()


@dataclass(frozen=True)
class Resources:
    """What a backend may use.

    Attributes:
        threads: Inside one operator; 0 lets the library choose.
        stream: Handle of the CUDA stream to run on; 0: one of its own.
    """

    threads: int = 0
    stream: int = 0


Maker = Callable[[NetworkSpec, Precision, Resources], Backend]


def _onnxruntime_cpu(network: NetworkSpec, precision: Precision, resources: Resources) -> Backend:
    return OnnxRuntimeCpu(
        input_name=network.input,
        output_name=network.output,
        precision=precision,
        threads=resources.threads,
    )


def _onnxruntime_cuda(network: NetworkSpec, precision: Precision, resources: Resources) -> Backend:
    return OnnxRuntimeCuda(
        input_name=network.input,
        output_name=network.output,
        precision=precision,
        threads=resources.threads,
    )


def _tensorrt(network: NetworkSpec, precision: Precision, resources: Resources) -> Backend:
    return TensorRtBackend(
        input_name=network.input,
        output_name=network.output,
        precision=precision,
        stream=resources.stream,
    )


# Name -> (constructor, precisions it runs, best first).
BACKENDS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    TENSORRT: (_tensorrt, ("int8", "fp16", "fp32")),
    # FP16 and INT8 are no faster than FP32 here, so they only run where FP32 is not there.
    OnnxRuntimeCpu.name: (_onnxruntime_cpu, ("fp32", "fp16", "int8")),
}
# Taken when they are asked for by name alone: they stand in for TensorRT where it is missing.
STAND_INS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    ONNXRUNTIME_CUDA: (_onnxruntime_cuda, ("fp16", "fp32")),
}


def open_backend(
    bundle: Bundle, network: NetworkSpec, *, name: str = AUTO, threads: int = 0, stream: int = 0
) -> Backend:
    """Load a bundle's network into a backend.

    ``auto`` takes TensorRT where a plan of the network was built (`vigil engine build`), and ONNX
    Runtime elsewhere.

    Args:
        bundle: The verified bundle.
        network: The network, as the model describes it.
        name: A key of `BACKENDS` or `STAND_INS`, or ``auto``.
        threads: Threads inside one operator; 0 lets the library choose.
        stream: Handle of the CUDA stream to run on, where the backend has one; 0: its own.

    Raises:
        UsageError: No backend of that name.
        DataError: The bundle holds no precision that the backend runs, or a file it cannot load.
        UnavailableError: What the backend needs is not there: a library, a driver, a plan.
    """
    known = {**BACKENDS, **STAND_INS}
    if name != AUTO and name not in known:
        raise UsageError(
            f"there is no backend {name!r}", mend=f"choose one of {', '.join((AUTO, *BACKENDS))}"
        )
    refusal: UnavailableError | None = None
    candidates = list(BACKENDS) if name == AUTO else [name]
    for candidate in candidates:
        make, precisions = known[candidate]
        for precision in precisions:
            if precision not in network.files:
                continue
            file = bundle.path(network.files[precision])
            if name == AUTO and candidate == TENSORRT and not plan_was_built(file):
                continue
            backend = make(network, precision, Resources(threads, stream))
            try:
                backend.load(file)
            except UnavailableError as error:
                backend.close()
                refusal = refusal or error
                if name == AUTO:
                    _log.warning("backend_skipped", backend=candidate, reason=str(error))
                continue
            return backend
    if refusal is not None:
        raise refusal
    raise DataError(
        f"the bundle has {', '.join(network.files) or 'no file'} for this network, "
        f"which {', '.join(candidates)} cannot run",
        where=str(bundle.root),
        mend="export the bundle with an fp32 network",
    )


def plan_was_built(file: Path) -> bool:
    """Whether someone built a plan of this network here; cheap, and needs no TensorRT."""
    plans = PlanCache(default_folder()).plans()
    if not plans:
        return False
    sha256 = sha256_of(file)
    return any(plan.sidecar.key.onnx_sha256 == sha256 for plan in plans)
