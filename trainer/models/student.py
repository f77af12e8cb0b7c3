"""A small convolutional network that imitates a large one on the windows of a scene."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.backbone import SHORTEST

# Grey values of ordinary pictures have about this mean and deviation.
_MEAN, _DEVIATION = 0.45, 0.25


class Student(nn.Module):
    """Convolutions of stride 2, two dense layers; the output has length one, like the teacher's.

    Args:
        side: Side of a window in pixels, divisible by 2 for each convolution.
        filters: Output channels of the convolutions.
        hidden: Width of the first dense layer.
        dimensions: Length J of the teacher's vectors.
        channels: Of a window; 1 is grey.

    Raises:
        ValueError: `side` cannot be halved that often.
    """

    def __init__(
        self,
        *,
        side: int,
        filters: Sequence[int],
        hidden: int,
        dimensions: int,
        channels: int = 1,
    ) -> None:
        super().__init__()
        left, rest = divmod(side, 2 ** len(filters))
        if rest or not left:
            raise ValueError(f"windows of {side} px cannot be halved {len(filters)} times")
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in filters:
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        self.trunk = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(inputs * left * left, hidden), nn.ReLU())
        self.read_out = nn.Linear(hidden, dimensions)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows in [0, 1], float32 (N, channels, side, side) -> float32 (N, J), length one."""
        raw = self.raw(windows)
        length = (raw * raw).sum(1, keepdim=True).sqrt()
        return raw / length.clamp(min=SHORTEST)

    def raw(self, windows: Tensor) -> Tensor:
        """The vectors before they are scaled to length one; what the training compares."""
        out: Tensor = self.read_out(self.dense(self.trunk((windows - _MEAN) / _DEVIATION)))
        return out

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Begin with the teacher's mean (J,) as the answer to everything."""
        self.read_out.weight.mul_(0.1)
        self.read_out.bias.copy_(mean)
