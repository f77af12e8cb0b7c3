"""3-D convolutions as sums of 2-D ones: what every engine takes, in any precision.

A 3 x 3 x 3 kernel over time, height and width is three 2-D kernels, one for the frame before, one
for the frame and one for the frame after; their sum over time is one 2-D convolution of the three
frames' channels side by side. Training and export run this same form.

A `Span` knows which frames of a clip it holds, so that a network can be run on the last frames
alone and still give exactly what the whole clip would have given: beyond the clip there is
zero padding, before the span there is nothing, and nothing is computed from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

Taps = Literal[1, 3]
Finish = Callable[[Tensor], Tensor]
"""What follows a layer: (N T) x C x H x W to the same shape. Done before frames are taken apart
again, so that an exporter can fold a norm into its convolution."""


def as_it_is(folded: Tensor) -> Tensor:
    """Nothing follows."""
    return folded


@dataclass(frozen=True)
class Span:
    """Frames `first` .. `total` - 1 of a clip of `total`; values N x T x C x H x W."""

    values: Tensor
    first: int
    total: int

    @property
    def folded(self) -> Tensor:
        """(N T) x C x H x W."""
        return self.values.reshape(-1, *self.values.shape[2:])

    def like(self, folded: Tensor) -> Span:
        """The same frames with other maps: (N T) x C' x H' x W'."""
        frames = self.values.shape[1]
        return Span(folded.reshape(-1, frames, *folded.shape[1:]), self.first, self.total)

    def newest(self, frames: int) -> Span:
        """The last frames only."""
        return Span(self.values[:, -frames:], self.total - frames, self.total)


def _beside(span: Span) -> tuple[Tensor, int]:
    """Zero frames around the clip, where the span reaches its ends; and the first one's number."""
    before = 1 if span.first == 0 else 0
    around = pad(span.values, (0, 0, 0, 0, 0, 0, before, 1))
    return around, span.first - before


class TimeConvolution(nn.Module):
    """A convolution of stride 2 in space; `taps` 3 looks one frame back and one ahead.

    Args:
        inputs: Channels.
        outputs: Channels.
        taps: 1: each frame for itself, a 2-D convolution; 3: a 3-D one.
        time_stride: 2 keeps every other frame, from the first on; needs 3 taps.
    """

    def __init__(self, inputs: int, outputs: int, *, taps: Taps, time_stride: int = 1) -> None:
        super().__init__()
        if taps == 1 and time_stride != 1:
            raise ValueError("a stride in time needs 3 taps")
        self.taps, self.time_stride = taps, time_stride
        plain = nn.Conv2d(taps * inputs, outputs, 3)
        self.weight, self.bias = plain.weight, plain.bias  # O x (taps I) x 3 x 3, oldest tap first

    def forward(self, span: Span, finish: Finish = as_it_is) -> Span:
        """Every frame that the span suffices for."""
        if self.taps == 1:
            return span.like(finish(self._convolve(span.folded)))
        around, first = _beside(span)
        stride = self.time_stride
        start = -(-(first + 1) // stride)  # the first centre whose frame before is there
        total = span.total // stride
        at, count = start * stride - 1 - first, total - start
        stop = at + stride * (count - 1) + 1
        three = [around[:, at + tap : stop + tap : stride] for tap in range(3)]
        joined = Span(torch.cat(three, 2), start, total)
        return joined.like(finish(self._convolve(joined.folded)))

    def _convolve(self, folded: Tensor) -> Tensor:
        return conv2d(folded, self.weight, self.bias, stride=2, padding=1)

    def needs(self, frames: int, total: int) -> int:
        """Newest input frames of `total` that the newest `frames` output frames depend on."""
        if self.taps == 1:
            return frames
        first = (total // self.time_stride - frames) * self.time_stride - 1
        return total - max(0, first)


class TimeDeconvolution(nn.Module):
    """The transposed convolution that mirrors `TimeConvolution`; it doubles height and width.

    Args:
        inputs: Channels.
        outputs: Channels.
        taps: 1: each frame for itself; 3: a 3-D one.
        time_stride: 2 doubles the frames; needs 3 taps.
    """

    def __init__(self, inputs: int, outputs: int, *, taps: Taps, time_stride: int = 1) -> None:
        super().__init__()
        if taps == 1 and time_stride != 1:
            raise ValueError("a stride in time needs 3 taps")
        self.taps, self.time_stride = taps, time_stride
        plain = nn.ConvTranspose2d(taps * inputs, outputs, 3)
        self.weight, self.bias = plain.weight, plain.bias  # (taps I) x O x 3 x 3, newest tap first

    def forward(self, span: Span, finish: Finish = as_it_is) -> Span:
        """Every frame that the span suffices for."""
        if self.taps == 1:
            return span.like(finish(self._spread(span.folded, self.weight)))
        if self.time_stride == 1:
            return self._same_rate(span, finish)
        # Even and odd frames are one picture sequence to a norm, so they are woven first.
        woven = self._double_rate(span)
        return woven.like(finish(woven.folded))

    def needs(self, frames: int, total: int) -> int:
        """Newest input frames of `total` that the newest `frames` output frames depend on."""
        if self.taps == 1:
            return frames
        first = total * self.time_stride - frames
        return total - (max(0, first - 1) if self.time_stride == 1 else first // 2)

    def _spread(self, folded: Tensor, weight: Tensor) -> Tensor:
        return conv_transpose2d(folded, weight, self.bias, stride=2, padding=1, output_padding=1)

    def _same_rate(self, span: Span, finish: Finish) -> Span:
        """out[t] = w0 x[t+1] + w1 x[t] + w2 x[t-1]."""
        around, first = _beside(span)
        count = span.total - first - 1
        three = [around[:, tap : tap + count] for tap in (2, 1, 0)]
        joined = Span(torch.cat(three, 2), first + 1, span.total)
        return joined.like(finish(self._spread(joined.folded, self.weight)))

    def _double_rate(self, span: Span) -> Span:
        """out[2 i] = w1 x[i];  out[2 i + 1] = w0 x[i+1] + w2 x[i]."""
        inputs = len(self.weight) // 3  # slices, not chunks: an exporter folds those
        newer, older = self.weight[:inputs], self.weight[2 * inputs :]
        middle = self.weight[inputs : 2 * inputs]
        after = pad(span.values[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
        both = span.like(torch.cat([after, span.values], 2).reshape(-1, *_twice(span)))
        odd = both.like(self._spread(both.folded, torch.cat([newer, older]))).values
        even = span.like(self._spread(span.folded, middle)).values
        frames = 2 * span.values.shape[1]
        woven = torch.stack([even, odd], 2).reshape(-1, frames, *even.shape[2:])
        return Span(woven, 2 * span.first, 2 * span.total)


def _twice(span: Span) -> tuple[int, ...]:
    """(2 C, H, W)."""
    channels, height, width = span.values.shape[2:]
    return 2 * channels, height, width
