"""Which backend runs a network: asked for by name, or the best that is installed."""

from __future__ import annotations

from collections.abc import Callable

from engines.backends.backend import Backend
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import Bundle
from engines.errors import DataError, UsageError
from engines.model_spec import NetworkSpec, Precision

AUTO = "auto"

Maker = Callable[[NetworkSpec, Precision, int], Backend]


def _onnxruntime_cpu(network: NetworkSpec, precision: Precision, threads: int) -> Backend:
    return OnnxRuntimeCpu(
        input_name=network.input,
        output_name=network.output,
        precision=precision,
        threads=threads,
    )


# Name -> (constructor, precisions it runs, best first).
BACKENDS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    # FP16 and INT8 are no faster than FP32 here, so they only run where FP32 is not there.
    OnnxRuntimeCpu.name: (_onnxruntime_cpu, ("fp32", "fp16", "int8")),
}


def open_backend(
    bundle: Bundle, network: NetworkSpec, *, name: str = AUTO, threads: int = 0
) -> Backend:
    """Load a bundle's network into a backend.

    Args:
        bundle: The verified bundle.
        network: The network, as the model describes it.
        name: A key of `BACKENDS`, or ``auto``.
        threads: Threads inside one operator; 0 lets the library choose.

    Raises:
        UsageError: No backend of that name.
        DataError: The bundle holds no precision that the backend runs, or a file it cannot load.
    """
    if name != AUTO and name not in BACKENDS:
        raise UsageError(
            f"there is no backend {name!r}", mend=f"choose one of {', '.join((AUTO, *BACKENDS))}"
        )
    candidates = list(BACKENDS) if name == AUTO else [name]
    for candidate in candidates:
        make, precisions = BACKENDS[candidate]
        for precision in precisions:
            if precision in network.files:
                backend = make(network, precision, threads)
                backend.load(bundle.path(network.files[precision]))
                return backend
    raise DataError(
        f"the bundle has {', '.join(network.files) or 'no file'} for this network, "
        f"which {', '.join(candidates)} cannot run",
        where=str(bundle.root),
        mend="export the bundle with an fp32 network",
    )
