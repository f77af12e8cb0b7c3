"""Which backend runs a network: asked for by name, or the best that is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, get_args

import structlog

from engines.backends.backend import Backend
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.backends.onnxruntime_cuda import OnnxRuntimeCuda
from engines.backends.openvino_cpu import OpenVinoCpu
from engines.backends.tensorrt.library import TENSORRT
from engines.backends.tensorrt.runner import TensorRtBackend
from engines.bundle import Bundle
from engines.errors import DataError, UnavailableError, UsageError, VigilError
from engines.manifest import sha256_of
from engines.model_spec import NetworkSpec, Precision
from engines.plan_cache import PlanCache, default_folder

AUTO = "auto"
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
LARGE_PARAMETERS = 1_000_000
"""From here on OpenVINO's INT8 saves more than its calls cost. CPU milliseconds, one thread, ONNX
Runtime FP32 against OpenVINO INT8: 0.2 M parameters, 36 patches of 32 px, 0.9 and 1.3; 2.9 M, 75
windows of 96 px, 151 and 95."""
OPTIONAL = frozenset({OpenVinoCpu.name})
"""``auto`` goes on to the next backend where one of these does not pass the gate."""
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
Gate = Callable[[Backend], None]
"""Raises DataError if a backend does not give the numbers that the bundle expects."""


def _on_host(kind: type[OnnxRuntimeCpu | OpenVinoCpu]) -> Maker:
    """What makes a backend whose batches come from the host's memory."""

    def make(network: NetworkSpec, precision: Precision, resources: Resources) -> Backend:
        return kind(
            input_name=network.input,
            output_name=network.output,
            precision=precision,
            threads=resources.threads,
        )

    return make


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
    # FP32 and FP16 are no faster there than in ONNX Runtime, so they only run where asked for.
    OpenVinoCpu.name: (_on_host(OpenVinoCpu), ("int8", "fp32", "fp16")),
    # FP16 and INT8 are no faster than FP32 here, so they only run where FP32 is not there.
    OnnxRuntimeCpu.name: (_on_host(OnnxRuntimeCpu), ("fp32", "fp16", "int8")),
}
# Taken when they are asked for by name alone: they stand in for TensorRT where it is missing.
STAND_INS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    ONNXRUNTIME_CUDA: (_on_host(OnnxRuntimeCuda), ("fp16", "fp32")),
}


def open_backend(
    bundle: Bundle,
    network: NetworkSpec,
    *,
    name: str = AUTO,
    threads: int = 0,
    stream: int = 0,
    gate: Gate | None = None,
) -> Backend:
    """Load a bundle's network into a backend.

    ``auto`` takes TensorRT where a plan of the network was built (`vigil engine build`), OpenVINO
    where it is installed and the network is one that it runs faster, and ONNX Runtime elsewhere;
    where OpenVINO does not pass the gate it is left out, and the log says so.

    Args:
        bundle: The verified bundle.
        network: The network, as the model describes it.
        name: A key of `BACKENDS` or `STAND_INS`, or ``auto``; with ``/PRECISION`` behind it, as in
            ``auto/int8``, no other precision is taken.
        threads: Threads inside one operator; 0 lets the library choose.
        stream: Handle of the CUDA stream to run on, where the backend has one; 0: its own.
        gate: What a backend must pass when its network is loaded; None: nothing.

    Raises:
        UsageError: No backend or precision of that name.
        DataError: The bundle holds no precision that the backend runs, a file it cannot load, or
            none passes the gate.
        UnavailableError: What the backend needs is not there: a library, a driver, a plan.
    """
    known = {**BACKENDS, **STAND_INS}
    name, wanted = _name_and_precision(name, known)
    refusal: UnavailableError | None = None
    candidates = list(BACKENDS) if name == AUTO else [name]
    for candidate in candidates:
        make, precisions = known[candidate]
        for precision in precisions:
            if precision not in network.files or wanted not in (None, precision):
                continue
            if name == AUTO and not _worth_trying(
                bundle, candidate, network, precision, insisted=wanted is not None
            ):
                continue
            backend = make(network, precision, Resources(threads, stream))
            try:
                _load(backend, bundle.path(network.files[precision]), gate, auto=name == AUTO)
            except UnavailableError as error:
                refusal = refusal or error
                if name == AUTO:
                    _log.warning(
                        "backend_skipped",
                        backend=candidate,
                        precision=precision,
                        reason=error.what,
                        mend=error.mend or "vigil engine check BUNDLE says what is missing",
                    )
                continue
            return backend
    if refusal is not None:
        raise refusal
    held = ", ".join(network.files) or "no file"
    if wanted is not None and wanted not in network.files:
        raise DataError(
            f"the bundle has {held} for this network, and no {wanted}",
            where=str(bundle.root),
            mend="make it with vigil calibrate --int8"
            if wanted == "int8"
            else "train the bundle again, or choose another precision",
        )
    raise DataError(
        f"the bundle has {held} for this network, "
        f"which {', '.join(candidates)} cannot run{'' if wanted is None else f' as {wanted}'}",
        where=str(bundle.root),
        mend="export the bundle with an fp32 network",
    )


def require_backend(name: str) -> None:
    """See that `open_backend` knows this name; asks for no library and no device.

    Raises:
        UsageError: No backend or precision of that name.
    """
    _name_and_precision(name, {**BACKENDS, **STAND_INS})


def _name_and_precision(name: str, known: Mapping[str, object]) -> tuple[str, str | None]:
    backend, slash, precision = name.partition("/")
    if backend != AUTO and backend not in known:
        raise UsageError(
            f"there is no backend {backend!r}", mend=f"choose one of {', '.join((AUTO, *BACKENDS))}"
        )
    if slash and precision not in PRECISIONS:
        raise UsageError(
            f"there is no precision {precision!r}", mend=f"choose one of {', '.join(PRECISIONS)}"
        )
    return backend, precision or None


def _load(backend: Backend, file: Path, gate: Gate | None, *, auto: bool) -> None:
    """Load a network and let it pass the gate, or close the backend.

    Other numbers than expected are an error: the bundle is damaged, or a plan that passed when it
    was built here does so no more. Of a library that ``auto`` only tries because it happens to be
    installed they are a reason to take the next one.
    """
    try:
        backend.load(file)
        if gate is not None:
            _pass(gate, backend, may_fail=auto and backend.name in OPTIONAL)
    except VigilError:
        backend.close()
        raise


def _pass(gate: Gate, backend: Backend, *, may_fail: bool) -> None:
    try:
        gate(backend)
    except DataError as error:
        if may_fail:
            raise UnavailableError(error.what, where=error.where, mend=error.mend) from error
        raise


def _worth_trying(
    bundle: Bundle, candidate: str, network: NetworkSpec, precision: Precision, *, insisted: bool
) -> bool:
    """Whether ``auto`` should load this backend; cheap, and needs none of their libraries."""
    if candidate == TENSORRT:
        return plan_was_built(bundle.path(network.files[precision]))
    if candidate == OpenVinoCpu.name:
        large = insisted or network.parameters >= LARGE_PARAMETERS
        return large and precision == "int8" and find_spec("openvino") is not None
    return True


def plan_was_built(file: Path) -> bool:
    """Whether someone built a plan of this network here; cheap, and needs no TensorRT."""
    plans = PlanCache(default_folder()).plans()
    if not plans:
        return False
    sha256 = sha256_of(file)
    return any(plan.sidecar.key.onnx_sha256 == sha256 for plan in plans)
