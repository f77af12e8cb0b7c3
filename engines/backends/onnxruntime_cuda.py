"""ONNX Runtime on a GPU, batches through the host's memory: stands in for TensorRT in reports."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import onnxruntime as ort

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import UnavailableError

PROVIDER = "CUDAExecutionProvider"
_MEND = "install onnxruntime-gpu with the CUDA and cuDNN that it was built for"


class OnnxRuntimeCuda(OnnxRuntimeCpu):
    """Runs an ONNX file with ONNX Runtime's CUDA provider. NOT YET VERIFIED ON HARDWARE."""

    name = "onnxruntime-cuda"
    providers: ClassVar[tuple[str, ...]] = (PROVIDER, "CPUExecutionProvider")
    block = None  # a GPU is the faster the more it is given at once

    def load(self, file: Path) -> None:
        """Read the network.

        Raises:
            DataError: Not an ONNX file that the runtime accepts, or without the named tensors.
            UnavailableError: The provider is not there, or does not start on this machine.
        """
        if PROVIDER not in ort.get_available_providers():
            raise UnavailableError("this ONNX Runtime has no CUDA provider", mend=_MEND)
        super().load(file)
        # The library goes on without a provider that it cannot start, and only says so in its log.
        if PROVIDER not in self._session.get_providers():
            self.close()
            raise UnavailableError("ONNX Runtime's CUDA provider does not start here", mend=_MEND)
