"""The Top-Heavy auto-encoder (Cruz-Esquivel and Guzman-Zavaleta), and the all-3-D one beside it.

Only a poster's text is known of it: 2-D and 3-D convolutions mixed, 57 % of the weights of "the 3D
auto-encoder", two training schemes. Everything else here is this project's choice:

- Top-heavy, after Xie et al. (ECCV 2018): 2-D convolutions in the lower layers, next to the pixels,
  3-D ones on top. Of four layers of equal width only the highest is 3-D: with 64 channels that
  gives 371,137 weights against 668,353, 55.5 %; two 3-D layers would give 77.6 %.
- Input: 16 grey frames of 128 x 128 in [0, 1]. Kernels of 3; every layer halves height and width,
  the highest also the number of frames; batch norm and leaky ReLU 0.2; the decoder mirrors it with
  transposed convolutions; the last layer is linear.
- The all-3-D one has the same strides and widths; nothing but the kernels' reach in time differs.
- L_s: mean squared error of the frames. L_t: mean squared error of the differences of neighbouring
  frames, of the input and of what is rebuilt.
- Scheme `plain` (the default, not the poster's): L_s + L_t of one network. Scored by L_t alone,
  see preset `top-heavy`.
- Scheme `distil` ("anomaly score distillation", one network): s = (L_t - L_s)^2 at test, after
  each was standardised on normal footage, since they have different scales; the poster's operator
  is lost, its text says that the score rises when the two differ. In training it would be
  0 for a network that makes both errors equally large, so training is that of `plain`.
- Scheme `joint` ("joint spatiotemporal training", two streams in parallel): two networks of the
  same design, theta_1 on the frames, theta_2 on their differences (divided by 2 and moved to have 0
  at 0.5, like the frames), L = L_s(theta_1) + L_s(theta_1) L_t(theta_2), the product over each
  clip. The poster gives no score for it; plan `top-heavy` takes the mean of both, each
  standardised on normal footage.
- The score of a cell is that of the newest frame (L_t: of the newest pair), so nothing is delayed.
  Those depend on the last frames alone: 3 of 16 for the mixed network, `reach` for others.

Networks here know no files, no configuration and no logging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from trainer.models.log_error import log_error
from trainer.models.time_convolution import Finish, Span, Taps, TimeConvolution, TimeDeconvolution

Design = Literal["top-heavy", "all-3d", "all-2d"]
Scheme = Literal["plain", "distil", "joint"]
LAYERS = 4
_SLOPE = 0.2
# The newest frame and the one before it, for L_t.
_SCORED = 2
CELL = 8
"""Pixels of the picture along one side of a cell of the score map."""


def layer_taps(design: Design) -> tuple[Taps, ...]:
    """Taps in time of the encoder's layers, the lowest first."""
    if design == "all-3d":
        return (3, 3, 3, 3)
    return (1, 1, 1, 3) if design == "top-heavy" else (1, 1, 1, 1)


class TimeAutoEncoder(nn.Module):
    """Clips to clips; an even number of frames, sides divisible by 16.

    Args:
        design: Which layers are 3-D.
        widths: Channels of the four layers.
    """

    def __init__(
        self, design: Design = "top-heavy", widths: Sequence[int] = (64, 64, 64, 64)
    ) -> None:
        super().__init__()
        taps = layer_taps(design)
        strides = [1, 1, 1, 2 if taps[-1] == 3 else 1]
        sizes = [1, *widths]
        self.down = nn.ModuleList(
            TimeConvolution(sizes[n], sizes[n + 1], taps=taps[n], time_stride=strides[n])
            for n in range(LAYERS)
        )
        self.up = nn.ModuleList(
            TimeDeconvolution(sizes[n + 1], sizes[n], taps=taps[n], time_stride=strides[n])
            for n in reversed(range(LAYERS))
        )
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in reversed(widths[:-1]))

    @property
    def layers_down(self) -> list[TimeConvolution]:
        """The encoder's, the lowest first."""
        return [cast("TimeConvolution", layer) for layer in self.down]

    @property
    def layers_up(self) -> list[TimeDeconvolution]:
        """The decoder's, the highest first."""
        return [cast("TimeDeconvolution", layer) for layer in self.up]

    def forward(self, clips: Tensor) -> Tensor:
        """N x T x H x W -> the same, rebuilt."""
        return self._decode(self._encode(Span(clips[:, :, None], 0, clips.shape[1])))

    def newest(self, clips: Tensor, total: int) -> Tensor:
        """The two newest frames rebuilt, exactly as `forward` does it in a clip of `total`.

        Args:
            clips: N x T x H x W, the newest T >= `reach(total)` frames; older ones are left aside.
            total: Frames of the clips of the training.

        Returns:
            N x 2 x H x W.
        """
        used = self.reach(total)
        span = Span(clips[:, -used:, None], total - used, total)
        latent = self._encode(span)
        return self._decode(latent.newest(self._latents(latent.total)), wanted=_SCORED)

    def reach(self, total: int) -> int:
        """Newest frames of a clip of `total` that the two newest rebuilt frames depend on."""
        totals = [total]
        for layer in self.layers_down:
            totals.append(totals[-1] // layer.time_stride)
        frames = self._latents(totals[-1])
        for layer, before in zip(reversed(self.layers_down), reversed(totals[:-1]), strict=True):
            frames = layer.needs(frames, before)
        return max(frames, _SCORED)

    def _latents(self, total: int) -> int:
        """Newest latent frames of `total` that the two newest rebuilt frames depend on."""
        frames, totals = _SCORED, [total]
        for layer in self.layers_up:
            totals.append(totals[-1] * layer.time_stride)
        for layer, before in zip(reversed(self.layers_up), reversed(totals[:-1]), strict=True):
            frames = layer.needs(frames, before)
        return frames

    def _encode(self, span: Span) -> Span:
        for layer, norm in zip(self.layers_down, self.down_norms, strict=True):
            span = layer(span, _after(norm))
        return span

    def _decode(self, span: Span, wanted: int | None = None) -> Tensor:
        *lower, last = self.layers_up
        for layer, norm in zip(lower, self.up_norms, strict=True):
            span = layer(span, _after(norm))
        span = last(span)
        if wanted is not None:
            span = span.newest(wanted)
        return span.values[:, :, 0]


@dataclass(frozen=True)
class TopHeavyTerms:
    """Per clip, (N,): L_s of the frames and L_t of their differences."""

    spatial: Tensor
    temporal: Tensor


class TopHeavy(nn.Module):
    """One auto-encoder, or two in parallel for scheme `joint`.

    Args:
        frames: Of a clip, even.
        design: Which layers are 3-D.
        widths: Channels of the four layers.
        scheme: How it is trained and scored.

    Raises:
        ValueError: An odd number of frames, or too few.
    """

    def __init__(
        self,
        *,
        frames: int = 16,
        design: Design = "top-heavy",
        widths: Sequence[int] = (64, 64, 64, 64),
        scheme: Scheme = "plain",
    ) -> None:
        super().__init__()
        if frames % 2 or frames < 4:
            raise ValueError(f"a clip has an even number of frames, 4 or more, not {frames}")
        self.clip_frames = frames
        self.scheme = scheme
        self.spatial = TimeAutoEncoder(design, widths)
        self.temporal = TimeAutoEncoder(design, widths) if scheme == "joint" else None

    @property
    def scored_frames(self) -> int:
        """Newest frames that the score depends on."""
        reach = self.spatial.reach(self.clip_frames)
        return reach if self.temporal is None else reach + 1

    def forward(self, clips: Tensor) -> TopHeavyTerms:
        """The losses of N x T x H x W in [0, 1]."""
        rebuilt = self.spatial(clips).float()
        spatial = (rebuilt - clips).square().flatten(1).mean(1)
        if self.temporal is None:
            error = _differences(rebuilt) - _differences(clips)
        else:
            # As many differences as frames: the first one has none before it, and counts as still.
            still = torch.zeros_like(clips[:, :1])
            inputs = _as_frames(torch.cat([still, _differences(clips)], 1))
            error = 2.0 * (self.temporal(inputs).float() - inputs)[:, 1:]
        return TopHeavyTerms(spatial=spatial, temporal=error.square().flatten(1).mean(1))

    def score_maps(self, clips: Tensor) -> Tensor:
        """Newest frames in [0, 1], at least `scored_frames` -> N x 2 x H/8 x W/8.

        ln of the mean squared error of a cell: of the newest frame, of its change from the last.
        """
        rebuilt = self.spatial.newest(clips, self.clip_frames)
        errors = rebuilt - clips[:, -2:]
        if self.temporal is None:
            change = errors[:, 1:] - errors[:, :1]
        else:
            inputs = _as_frames(clips[:, 1:] - clips[:, :-1])
            again = self.temporal.newest(inputs, self.clip_frames)
            change = 2.0 * (again[:, 1:] - inputs[:, -1:])
        maps = [
            log_error(error, lambda x: avg_pool2d(x, CELL)) for error in (errors[:, 1:], change)
        ]
        return torch.cat(maps, 1)


def _after(norm: nn.Module) -> Finish:
    """Batch norm and leaky ReLU."""
    return lambda folded: leaky_relu(norm(folded), _SLOPE)


def _differences(clips: Tensor) -> Tensor:
    """x_t - x_{t-1}, N x (T - 1) x H x W."""
    return clips[:, 1:] - clips[:, :-1]


def _as_frames(differences: Tensor) -> Tensor:
    """Differences in [-1, 1] as pictures in [0, 1]."""
    return differences * 0.5 + 0.5
