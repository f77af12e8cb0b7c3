"""Encoders as ONNX files, proven: the written file is run and compared with PyTorch."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.atomic import write_bytes
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import InternalError
from trainer.models.gmfc_vae import CHANNELS, Decoder, Encoder
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT

OPSET = 18
# Largest difference between ONNX Runtime and PyTorch, as a part of the largest latent value (at
# least 1). float32 rounding over Table I measures about 1e-6.
TOLERANCE = 1e-4
PROOF_SIZES = (1, 2, 64)
# Keeps the logarithm of an error finite; a level of 8 bits, squared, is 1.5e-5.
SMALLEST_ERROR = 1e-5


class ExportedEncoder(nn.Module):
    """What the graph contains: patches in [0, 1] -> mu~; no head for the variance, no decoder."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.trunk = encoder.trunk
        self.mean = encoder.mean

    def forward(self, patches: Tensor) -> Tensor:
        """(N, 3, patch, patch) -> (N, J)."""
        return torch.flatten(self.mean(self.trunk(patches)), 1)


class RebuildingEncoder(nn.Module):
    """Patches in [0, 1] -> mu~ and one more coordinate: how badly the patch is rebuilt from it."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.latent = ExportedEncoder(encoder)
        self.decoder = decoder

    def forward(self, patches: Tensor) -> Tensor:
        """(N, 3, patch, patch) -> (N, J + 1); the last: ln of the mean squared error of a pixel."""
        z = self.latent(patches)
        error = (patches - self.decoder(z)).square().flatten(1).mean(1, keepdim=True)
        return torch.cat([z, torch.log(error + SMALLEST_ERROR)], 1)


def deployed_parameters(module: nn.Module) -> int:
    """Weights that the exported graph of a module holds."""
    return sum(parameter.numel() for parameter in module.parameters())


def export_network(
    module: nn.Module,
    path: Path,
    *,
    side: int,
    channels: int = CHANNELS,
    samples: NDArray[np.float32] | None = None,
    sizes: Sequence[int] = PROOF_SIZES,
) -> float:
    """Write any encoder and compare the written file with PyTorch.

    Args:
        module: float32 N x channels x side x side in [0, 1] -> N x J (or N x J x rows x columns);
            left as it is, exported in float32 and in evaluation mode.
        path: ONNX file: input "patches", output "latent", N free, opset 18.
        side: Side of a patch in pixels.
        channels: Of a patch; 1 is grey.
        samples: Patches to compare on, besides random ones.
        sizes: Batches of random ones; fewer and smaller for networks of whole pictures.

    Returns:
        The largest absolute difference over all comparisons.

    Raises:
        InternalError: The difference exceeds `TOLERANCE`.
        CannotCreateError: `path` cannot be written.
    """
    return export_module(module, path, shape=(channels, side, side), samples=samples, sizes=sizes)


def export_module(
    module: nn.Module,
    path: Path,
    *,
    shape: tuple[int, ...],
    samples: NDArray[np.float32] | None = None,
    sizes: Sequence[int] = PROOF_SIZES,
) -> float:
    """The same for items of any shape: float32 N x `shape`; random ones are uniform in [0, 1].

    Raises:
        InternalError: The difference exceeds `TOLERANCE`.
        CannotCreateError: `path` cannot be written.
    """
    network = copy.deepcopy(module).cpu().float().eval()
    write_bytes(path, _onnx_bytes(network, shape))
    error, largest = _compare(network, path, shape, samples, sizes)
    if not error <= TOLERANCE * max(1.0, largest):
        raise InternalError(
            f"ONNX Runtime and PyTorch differ by {error:.2e} (latent values up to {largest:.3g}; "
            f"allowed are {TOLERANCE:.0e} of that)",
            where=str(path),
            mend="report this with the versions of torch and onnxruntime",
        )
    return error


@torch.no_grad()
def latents(encoder: nn.Module, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """What PyTorch's encoder gives on the CPU: float32 N x 3 x side x side -> float32 N x J."""
    plain = copy.deepcopy(encoder).cpu().float().eval()
    return np.asarray(plain(torch.from_numpy(patches)).numpy(), dtype=np.float32)


def _onnx_bytes(network: nn.Module, shape: tuple[int, ...]) -> bytes:
    example = torch.rand(2, *shape)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter warns about its own internals, not about this graph; the comparison decides.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        file = Path(folder) / "encoder.onnx"
        torch.onnx.export(
            network,
            (example,),
            file,
            input_names=[NETWORK_INPUT],
            output_names=[NETWORK_OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            verbose=False,
        )
        return _without_metadata(onnx.load(file))


def _without_metadata(model: onnx.ModelProto) -> bytes:
    """Drop what the exporter notes about itself: source paths of this machine, mostly."""
    graph = model.graph
    described = [*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for item in [model, graph, *described]:
        del item.metadata_props[:]
        item.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


@torch.no_grad()
def _compare(
    network: nn.Module,
    path: Path,
    shape: tuple[int, ...],
    samples: NDArray[np.float32] | None,
    sizes: Sequence[int],
) -> tuple[float, float]:
    """(largest absolute difference, largest absolute latent value) over batches of all sizes."""
    backend = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=1)
    backend.load(path)
    rng = np.random.default_rng(0)
    batches = [rng.random((n, *shape), dtype=np.float32) for n in sizes]
    if samples is not None and len(samples):
        batches.append(samples)
    error = largest = 0.0
    for batch in batches:
        expected = network(torch.from_numpy(batch)).numpy()
        error = max(error, float(np.abs(backend.infer(batch) - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    backend.close()
    return error, largest
