"""Whether a bundle runs on the GPU: asked for by name, or chosen by what is there."""

from __future__ import annotations

from typing import Final

import structlog

from edge.compute import HOST, Compute
from edge.gpu.compute import GpuCompute
from edge.gpu.inputs import DEVICE_KINDS
from edge.vision.cuda.flow import fast_preset
from edge.vision.cuda.pycuda_device import open_device
from engines.backends.choose import AUTO, plan_was_built
from engines.backends.tensorrt.library import TENSORRT
from engines.bundle import Bundle
from engines.errors import UsageError, VigilError

CUDA: Final = "cuda"
COMPUTES: Final = (AUTO, HOST.name, CUDA)
_log = structlog.get_logger()


def open_compute(bundle: Bundle, *, name: str = AUTO, backend: str = AUTO) -> Compute:
    """Where a bundle's pipeline runs.

    ``auto`` takes the GPU where every network of the bundle has a TensorRT plan that was built
    here, every stream with a network has CUDA twins, and the GPU opens; else the CPU. ``cuda``
    insists.

    Args:
        bundle: The verified bundle.
        name: One of `COMPUTES`.
        backend: What was asked for as the networks' backend.

    Raises:
        UsageError: No such name.
        UnavailableError: With ``cuda``: pycuda, driver, GPU or NVRTC is missing.
    """
    if name not in COMPUTES:
        raise UsageError(
            f"there is no compute {name!r}", mend=f"choose one of {', '.join(COMPUTES)}"
        )
    if name == CUDA:
        return GpuCompute(open_device())
    if name == AUTO and backend.partition("/")[0] in (AUTO, TENSORRT) and _is_prepared(bundle):
        try:
            fast_preset()  # the kernels fit this OpenCV's flow
            return GpuCompute(open_device())
        except VigilError as error:
            _log.warning("gpu_skipped", reason=str(error))
    return HOST


def _is_prepared(bundle: Bundle) -> bool:
    """Someone built plans for all networks here; cheap, and needs neither TensorRT nor pycuda."""
    networks = [stream for stream in bundle.model.streams if stream.network is not None]
    return bool(networks) and all(
        stream.network is not None
        and stream.input.kind in DEVICE_KINDS
        and any(plan_was_built(bundle.path(file)) for file in stream.network.files.values())
        for stream in networks
    )
