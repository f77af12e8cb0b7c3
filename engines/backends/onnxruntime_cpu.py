"""ONNX Runtime on the CPU: the backend that is always there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from engines.backends.backend import require_batch
from engines.errors import DataError
from engines.model_spec import Precision

# What the library raises for a file that is no network, or one that it cannot run.
LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

BLOCK = 16
"""Patches of one run. More gain no speed on a CPU, and the activations of all of them would have to
be in memory at the same time: a first frame, in which every cell is looked at, decides the peak."""


class OnnxRuntimeCpu:
    """Runs an ONNX file with ONNX Runtime's CPU provider; input and output are FP32.

    Args:
        input_name: Name of the network's input.
        output_name: Name of the output that is wanted.
        precision: Of the file's inside; for logs and the parity gate.
        threads: Threads inside one operator; 0 lets the library choose.
    """

    name = "onnxruntime-cpu"
    providers: ClassVar[tuple[str, ...]] = ("CPUExecutionProvider",)
    block: ClassVar[int | None] = BLOCK
    """Patches of one run; None: the whole batch."""

    def __init__(
        self, *, input_name: str, output_name: str, precision: Precision = "fp32", threads: int = 0
    ) -> None:
        self.precision = precision
        self._input_name = input_name
        self._output_name = output_name
        self._threads = threads
        self._session: Any = None
        self._shape: list[int | str] = []
        self._file = Path()

    def load(self, file: Path) -> None:
        """Read the network.

        Raises:
            DataError: Not an ONNX file that the runtime accepts, or without the named tensors.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads would take the second core from the decoder between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(file), sess_options=options, providers=list(self.providers)
            )
        except LOAD_ERRORS as error:
            raise DataError(
                f"ONNX Runtime cannot load {file.name}: {_first_line(error)}",
                where=str(file),
                mend="copy or export the bundle again",
            ) from error
        inputs = {item.name: item.shape for item in self._session.get_inputs()}
        outputs = [item.name for item in self._session.get_outputs()]
        if self._input_name not in inputs or self._output_name not in outputs:
            raise DataError(
                f"{file.name} has inputs {list(inputs)} and outputs {outputs}, "
                f"model.json wants {self._input_name} and {self._output_name}",
                where=str(file),
            )
        self._shape = inputs[self._input_name]
        self._file = file

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network: float32 N x C x H x W in, float32 N x J out; N may be 0.

        Raises:
            DataError: The batch does not have the network's input shape.
        """
        require_batch(batch, self._shape, where=str(self._file))
        size = self.block or max(len(batch), 1)
        blocks = [
            self._session.run([self._output_name], {self._input_name: batch[start : start + size]})
            for start in range(0, max(len(batch), 1), size)
        ]
        parts = [block[0] for block in blocks]
        return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts), dtype=np.float32)

    def close(self) -> None:
        """Free the network."""
        self._session = None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
