"""Which backend runs a network: asked for by name, or the best that is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import structlog

from engines.backends.backend import Backend
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.backends.openvino_cpu import OpenVinoCpu
from engines.backends.tensorrt.library import TENSORRT
from engines.backends.tensorrt.runner import TensorRtBackend
from engines.bundle import Bundle
from engines.errors import DataError, UnavailableError, UsageError
from engines.manifest import sha256_of
from engines.model_spec import NetworkSpec, Precision
from engines.plan_cache import PlanCache, default_folder

AUTO = "auto"
LARGE_PARAMETERS = 1_000_000
"""From here on OpenVINO's INT8 saves more than its calls cost. CPU milliseconds, one thread, ONNX
Runtime FP32 against OpenVINO INT8: 0.2 M parameters, 36 patches of 32 px, 0.9 and 1.3; 2.9 M, 75
windows of 96 px, 151 and 95."""
LAST_RESORT = OnnxRuntimeCpu.name
"""The backend that is always there."""
_log = structlog.get_logger()

Maker = Callable[[NetworkSpec, Precision, int], Backend]
Gate = Callable[[Backend], None]
"""Raises DataError if a backend does not give the numbers that the bundle expects."""


def _onnxruntime_cpu(network: NetworkSpec, precision: Precision, threads: int) -> Backend:
    return OnnxRuntimeCpu(
        input_name=network.input,
        output_name=network.output,
        precision=precision,
        threads=threads,
    )


def _openvino_cpu(network: NetworkSpec, precision: Precision, threads: int) -> Backend:
    return OpenVinoCpu(
        input_name=network.input,
        output_name=network.output,
        precision=precision,
        threads=threads,
    )


def _tensorrt(network: NetworkSpec, precision: Precision, threads: int) -> Backend:
    del threads
    return TensorRtBackend(
        input_name=network.input, output_name=network.output, precision=precision
    )


# Name -> (constructor, precisions it runs, best first).
BACKENDS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    TENSORRT: (_tensorrt, ("int8", "fp16", "fp32")),
    # FP32 and FP16 are no faster there than in ONNX Runtime, so they only run where asked for.
    OpenVinoCpu.name: (_openvino_cpu, ("int8", "fp32", "fp16")),
    # FP16 and INT8 are no faster than FP32 here, so they only run where FP32 is not there.
    OnnxRuntimeCpu.name: (_onnxruntime_cpu, ("fp32", "fp16", "int8")),
}


def open_backend(
    bundle: Bundle,
    network: NetworkSpec,
    *,
    name: str = AUTO,
    threads: int = 0,
    gate: Gate | None = None,
) -> Backend:
    """Load a bundle's network into a backend.

    ``auto`` takes TensorRT where a plan of the network was built (`vigil engine build`), OpenVINO
    where it is installed and the network is one that it runs faster, and ONNX Runtime elsewhere;
    what does not pass the gate is left out and said in the log.

    Args:
        bundle: The verified bundle.
        network: The network, as the model describes it.
        name: A key of `BACKENDS`, or ``auto``.
        threads: Threads inside one operator; 0 lets the library choose.
        gate: What a backend must pass when its network is loaded; None: nothing.

    Raises:
        UsageError: No backend of that name.
        DataError: The bundle holds no precision that the backend runs, a file it cannot load, or
            none passes the gate.
        UnavailableError: What the backend needs is not there: a library, a driver, a plan.
    """
    if name != AUTO and name not in BACKENDS:
        raise UsageError(
            f"there is no backend {name!r}", mend=f"choose one of {', '.join((AUTO, *BACKENDS))}"
        )
    refusal: UnavailableError | None = None
    candidates = list(BACKENDS) if name == AUTO else [name]
    for candidate in candidates:
        make, precisions = BACKENDS[candidate]
        for precision in precisions:
            if precision not in network.files:
                continue
            if name == AUTO and not _worth_trying(bundle, candidate, network, precision):
                continue
            backend = make(network, precision, threads)
            try:
                backend.load(bundle.path(network.files[precision]))
                if gate is not None:
                    _pass(gate, backend, may_fail=name == AUTO and candidate != LAST_RESORT)
            except UnavailableError as error:
                backend.close()
                refusal = refusal or error
                if name == AUTO:
                    _log.warning(
                        "backend_skipped", backend=candidate, precision=precision, reason=str(error)
                    )
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


def _pass(gate: Gate, backend: Backend, *, may_fail: bool) -> None:
    """Other numbers than expected: of a faster backend a reason to take the next one, if allowed.

    On the backend that is always there it means that the bundle is damaged.
    """
    try:
        gate(backend)
    except DataError as error:
        if may_fail:
            raise UnavailableError(error.what, where=error.where, mend=error.mend) from error
        raise


def _worth_trying(
    bundle: Bundle, candidate: str, network: NetworkSpec, precision: Precision
) -> bool:
    """Whether ``auto`` should load this backend; cheap, and needs none of their libraries."""
    if candidate == TENSORRT:
        return _plan_was_built(bundle.path(network.files[precision]))
    if candidate == OpenVinoCpu.name:
        large = network.parameters >= LARGE_PARAMETERS
        return large and precision == "int8" and find_spec("openvino") is not None
    return True


def _plan_was_built(file: Path) -> bool:
    """Whether someone built a plan of this network here."""
    plans = PlanCache(default_folder()).plans()
    if not plans:
        return False
    sha256 = sha256_of(file)
    return any(plan.sidecar.key.onnx_sha256 == sha256 for plan in plans)
