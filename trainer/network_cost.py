"""What a network costs where it runs: processor time an item, on one thread of this machine."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT

_CALLS = 5


def ms_per_item(network: Path, items: NDArray[np.float32]) -> float:
    """Median over a few calls, in milliseconds; of the processor, so that other work hardly counts.

    Args:
        network: ONNX file with our names of input and output.
        items: float32, N x ... as it takes them, all in one batch; N >= 1.

    Raises:
        DataError: It cannot be loaded, or the items have another shape.
    """
    backend = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=1)
    backend.load(network)
    taken = []
    with contextlib.closing(backend):
        backend.infer(items)  # the first call prepares
        for _ in range(_CALLS):
            began = time.process_time()
            backend.infer(items)
            taken.append(time.process_time() - began)
    return 1000.0 * statistics.median(taken) / len(items)
