"""OpenVINO on the CPU: runs the explicit INT8 file as INT8, which ONNX Runtime's CPU does not.

ONNX Runtime fuses a quantised convolution only with asymmetric activations; the symmetric ones that
TensorRT asks for are computed in FP32 there, with the rounding on top. OpenVINO takes them as they
are. Installed by the extra ``cpu-fast``.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends.backend import require_batch
from engines.backends.onnxruntime_cpu import BLOCK
from engines.errors import DataError, UnavailableError
from engines.model_spec import Precision

STEP = 4
"""More patches than this run in whole steps, the rest of the last one empty: OpenVINO prepares
itself anew for each size that it meets, which takes as long as twenty patches of a backbone."""


class OpenVinoCpu:
    """Runs an ONNX file with OpenVINO's CPU plug-in; input and output are FP32.

    Args:
        input_name: Name of the network's input.
        output_name: Name of the output that is wanted.
        precision: Of the file's inside; for logs and the parity gate.
        threads: Threads of one run; 0 takes one for each CPU that this process may use.
    """

    name = "openvino-cpu"

    def __init__(
        self, *, input_name: str, output_name: str, precision: Precision = "int8", threads: int = 0
    ) -> None:
        self.precision = precision
        self._input_name = input_name
        self._output_name = output_name
        self._threads = threads or len(os.sched_getaffinity(0))
        self._request: Any = None
        self._shape: list[int | None] = []
        self._file = Path()

    def load(self, file: Path) -> None:
        """Read and compile the network.

        Raises:
            UnavailableError: OpenVINO is not installed.
            DataError: Not an ONNX file that OpenVINO accepts, or without the named tensors.
        """
        openvino = _open_library()
        options = {
            # Without it OpenVINO computes in bfloat16 where the CPU can: other numbers elsewhere.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            # Threads that stay on a core would fight with the optical flow for it.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = openvino.Core().read_model(file)
            self._shape = [
                None if size.is_dynamic else size.get_length()
                for size in model.input(self._input_name).partial_shape
            ]
            model.output(self._output_name)
            compiled = openvino.Core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise DataError(
                f"OpenVINO cannot load {file.name} with input {self._input_name} and output "
                f"{self._output_name}: {_last_line(error)}",
                where=str(file),
                mend="copy or export the bundle again, or run it with --backend onnxruntime-cpu",
            ) from error
        self._request = compiled.create_infer_request()
        self._file = file

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network: float32 N x C x H x W in, float32 N x J out; N may be 0.

        Raises:
            DataError: The batch does not have the network's input shape.
        """
        require_batch(batch, self._shape, where=str(self._file))
        parts = []
        for start in range(0, max(len(batch), 1), BLOCK):
            block = batch[start : start + BLOCK]
            self._request.infer({self._input_name: _in_whole_steps(block)}, share_inputs=True)
            # A copy: the next block overwrites the request's own output.
            output = self._request.get_tensor(self._output_name).data[: len(block)]
            parts.append(np.array(output, dtype=np.float32))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Free the network."""
        self._request = None


def _in_whole_steps(block: NDArray[np.float32]) -> NDArray[np.float32]:
    missing = -len(block) % STEP
    if len(block) <= STEP or not missing:
        return np.ascontiguousarray(block, dtype=np.float32)
    padded = np.zeros((len(block) + missing, *block.shape[1:]), np.float32)
    padded[: len(block)] = block
    return padded


def _open_library() -> ModuleType:
    try:
        import openvino  # noqa: PLC0415  # takes a third of a second and is optional
    except ImportError as error:
        raise UnavailableError(
            f"OpenVINO is not installed or cannot be loaded: {error}",
            mend="pip install 'vigil[cpu-fast]', or choose --backend onnxruntime-cpu",
        ) from error
    module: ModuleType = openvino
    return module


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
