"""A frozen encoder ready to look at many windows: ONNX Runtime on the CPU, PyTorch on a GPU."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT


class FrozenEncoder(Protocol):
    """Looks at batches of windows."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 N x channels x side x side in [0, 1] -> float32 N x J."""

    def close(self) -> None:
        """Free the network; calling it twice is harmless."""


class TorchEncoder:
    """A PyTorch module as a frozen encoder.

    Args:
        module: Left as it is; a copy goes to the device.
        device: Where it runs.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device = device
        self._module: nn.Module | None = copy.deepcopy(module).to(device).float().eval()

    @torch.inference_mode()
    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `FrozenEncoder`."""
        if self._module is None:
            raise ValueError("the encoder is closed")
        answers = self._module(torch.from_numpy(batch).to(self._device))
        return np.asarray(answers.cpu().numpy(), dtype=np.float32)

    def close(self) -> None:
        """See `FrozenEncoder`."""
        self._module = None


def open_encoder(
    module: nn.Module, network: Path, *, device: torch.device, threads: int
) -> FrozenEncoder:
    """The faster of the two.

    Args:
        module: The encoder.
        network: Its ONNX file; on the CPU ONNX Runtime is about twice as fast as PyTorch.
        device: Of the training.
        threads: CPU threads.
    """
    if device.type != "cpu":
        return TorchEncoder(module, device)
    backend = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=threads)
    backend.load(network)
    return backend
