"""The pretrained network as an encoder of windows: a picture patch in, a unit vector out.

Nothing is trained here. The vector is the mean of chosen blocks' maps of EfficientNet-Lite0
(`trainer.models.lite0`), scaled to length one so that distances compare direction, not contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.export import export_network
from trainer.models.lite0 import BLOCKS, load_lite0

# Below this length a row counts as zero and is not stretched to one. Large enough to be a normal
# number in FP16 too: a smaller one would become 0 there, and 0 / 0 the result.
SHORTEST = 1e-4
# Lengths before the scaling are 20 to 110; in FP16 their squares must stay below 65504.
_HEADROOM = 1.0 / 8.0


class WindowBackbone(nn.Module):
    """EfficientNet-Lite0 as a frozen encoder.

    Args:
        layers: Blocks whose maps are averaged and put one after another; ascending, 0 to 15.
        weights: Weights file; None takes that of the installed package.

    Raises:
        UnavailableError: The package with the weights is not installed.
        DataError: Its file is not the expected one.
        ValueError: `layers` are no ascending block numbers.
    """

    def __init__(self, layers: Sequence[int] = (15,), *, weights: Path | None = None) -> None:
        super().__init__()
        self.network = load_lite0(layers, weights)
        self.eval()

    @property
    def dimensions(self) -> int:
        """J, the length of a vector."""
        return sum(BLOCKS[layer].outputs for layer in self.network.taps)

    def forward(self, patches: Tensor) -> Tensor:
        """RGB in [0, 1], float32 (N, 3, side, side) -> float32 (N, J), each row of length one.

        A row that is zero before the scaling stays zero.
        """
        # As the published weights were trained: (value - 127) / 128 of 0-255.
        pictures = patches * (255.0 / 128.0) - 127.0 / 128.0
        means = [features.mean((2, 3)) for features in self.network(pictures)]
        joined = torch.cat(means, 1) * _HEADROOM
        length = (joined * joined).sum(1, keepdim=True).sqrt()
        return joined / length.clamp(min=SHORTEST)


def export_backbone(layers: tuple[int, ...], path: Path, *, side: int) -> tuple[int, float]:
    """Write the encoder with its published weights, and compare the written file with PyTorch.

    Args:
        layers: As for `WindowBackbone`.
        path: ONNX file: input "patches" float32 N x 3 x side x side in [0, 1], output "latent"
            float32 N x J, N free, opset 18.
        side: Side of a patch in pixels.

    Returns:
        The number of weights in the file, and the largest absolute difference.

    Raises:
        UnavailableError: The package with the weights is not installed.
        DataError: Its file is not the expected one.
        InternalError: The file computes something else than PyTorch.
        CannotCreateError: `path` cannot be written.
    """
    backbone = WindowBackbone(layers)
    error = export_network(backbone, path, side=side)
    return sum(weight.numel() for weight in backbone.parameters()), error
