"""ONNX Runtime on a GPU, batches through the host's memory: stands in for TensorRT in reports."""

from __future__ import annotations

from typing import ClassVar

import onnxruntime as ort

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu

_PROVIDER = "CUDAExecutionProvider"


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """Runs an ONNX file with ONNX Runtime's CUDA provider. NOT YET VERIFIED ON HARDWARE."""

    name = "onnxruntime-cuda"
    providers: ClassVar[tuple[str, ...]] = (_PROVIDER, "CPUExecutionProvider")


def has_cuda() -> bool:
    """Whether this ONNX Runtime was built with the CUDA provider."""
    return _PROVIDER in ort.get_available_providers()
