"""MNAD: an auto-encoder whose middle goes through a memory (Park, Noh, Ham, CVPR 2020).

Two variants: `prediction` sees four frames and gives the fifth, with skip connections; with
`reconstruction` one frame goes in and out, without them. Layers are those of the authors' program:

    enc1..3   (conv 3x3, batch norm, ReLU) x2, then a max pooling by 2
    enc4      conv, batch norm, ReLU, conv; then unit length at each place: the queries
    memory    queries and what was read, side by side
    dec4..2   (conv 3x3, batch norm, ReLU) x2, then a transposed conv 3x3 of stride 2
    dec1      (conv, batch norm, ReLU) x2, conv, tanh

Networks here know no files, no configuration and no logging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from trainer.models.item_memory import (
    ItemMemory,
    Recall,
    compactness,
    separateness,
    unit_vectors,
)
from trainer.models.log_error import log_error

Variant = Literal["prediction", "reconstruction"]
DOWN = 8
"""Pixels of the picture along one side of a place of the memory, and of a cell of the map."""


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_block(inputs, outputs), *_block(outputs, outputs))


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@dataclass(frozen=True)
class MnadTerms:
    """Per clip, (N,): mean squared error of a value in [-1, 1], and the memory's two losses.

    `queries` are N x C x h x w, what the memory is to be written with.
    """

    pixel: Tensor
    compact: Tensor
    separate: Tensor
    queries: Tensor


class Mnad(nn.Module):
    """Clips in [0, 1], the newest frame last and the one to be given.

    Args:
        variant: What goes in.
        frames: Frames that the prediction sees; 1 for a reconstruction, which sees its target.
        channels: Of a frame; 1 is grey.
        widths: Channels of the four stages.
        items: Of the memory.

    Raises:
        ValueError: A reconstruction of more than one frame.
    """

    def __init__(
        self,
        *,
        variant: Variant = "prediction",
        frames: int = 4,
        channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        items: int = 10,
    ) -> None:
        super().__init__()
        if variant == "reconstruction" and frames != 1:
            raise ValueError(f"a reconstruction sees one frame, not {frames}")
        a, b, c, d = widths
        self.skips = variant == "prediction"
        self.channels = channels
        self.inputs = frames * channels
        self.clip_frames = frames + 1 if self.skips else 1
        """Frames of a clip, its target included."""
        self.pool = nn.MaxPool2d(2)
        self.encoders = nn.ModuleList([_twice(self.inputs, a), _twice(a, b), _twice(b, c)])
        self.top = nn.Sequential(*_block(c, d), nn.Conv2d(d, d, 3, padding=1))
        self.memory = ItemMemory(items, d)
        self.seen_queries: Tensor | None = None
        """Of the last training step: what the memory is to be written with."""
        # Below a skip the transposed convolution gives as many channels as the skip brings.
        ups = (c, b, a) if self.skips else (d, c, b)
        below = tuple(2 * up for up in ups) if self.skips else ups
        self.decoders = nn.ModuleList([_twice(2 * d, d), _twice(below[0], c), _twice(below[1], b)])
        self.ups = nn.ModuleList(_up(x, y) for x, y in zip((d, c, b), ups, strict=True))
        self.last = nn.Sequential(
            *_block(below[2], a), *_block(a, a), nn.Conv2d(a, channels, 3, padding=1), nn.Tanh()
        )

    def split(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Clips in [0, 1], N x (frames x channels) x H x W -> (seen, target), both in [-1, 1]."""
        moved = clips * 2.0 - 1.0
        return moved[:, : self.inputs], moved[:, -self.channels :]

    def encode(self, seen: Tensor) -> tuple[Tensor, list[Tensor]]:
        """N x inputs x H x W in [-1, 1] -> queries N x C x H/8 x W/8, and the skipped maps."""
        skipped = []
        x = seen
        for encoder in self.encoders:
            x = encoder(x)
            skipped.append(x)
            x = self.pool(x)
        return unit_vectors(self.top(x)), skipped

    def decode(self, queries: Tensor, read: Tensor, skipped: Sequence[Tensor]) -> Tensor:
        """Queries and what was read of them -> the frame, N x channels x H x W in [-1, 1]."""
        x = torch.cat([queries, read], 1)
        pairs = zip(self.decoders, self.ups, reversed(list(skipped)), strict=True)
        for decoder, up, skip in pairs:
            x = up(decoder(x))
            if self.skips:
                x = torch.cat([skip, x], 1)
        frame: Tensor = self.last(x)
        return frame

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor, Recall]:
        """N x inputs x H x W in [-1, 1] -> (frame in [-1, 1], queries, what the memory says)."""
        queries, skipped = self.encode(seen)
        recall = self.memory(queries)
        return self.decode(queries, recall.features, skipped), queries, recall

    def terms(self, clips: Tensor) -> MnadTerms:
        """The three losses of clips in [0, 1]."""
        seen, target = self.split(clips)
        frame, queries, recall = self(seen)
        return MnadTerms(
            pixel=(frame.float() - target).square().flatten(1).mean(1),
            compact=compactness(recall, queries.shape[1]),
            separate=separateness(recall),
            queries=queries,
        )

    def score_maps(self, clips: Tensor) -> Tensor:
        """Clips in [0, 1] -> N x 2 x H/8 x W/8, both high where abnormal.

        First: ln of the mean squared error of a cell; second: squared distance to the nearest item.
        """
        seen, target = self.split(clips)
        queries, skipped = self.encode(seen)
        read, distance = self.memory.read_nearest(queries)
        error = self.decode(queries, read, skipped) - target
        return torch.cat([log_error(error, lambda x: avg_pool2d(x, DOWN)), distance], 1)
