"""GMFC-VAE: the network of Fan et al. (2018), Table I, and its loss, Eq. (14).

Networks here know no files, no configuration and no logging. Readings A1-A8 of the paper:
symmetric padding 1 (A2), F5 and F6 as 1x1 convolutions without ReLU (A3, A4), ReLU after C1-C4 and
D8-D10 only (A5), one scalar sigma_x^2 a stream (A6), one sample z for decoder and gamma (A8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.models.mixture_prior import LOG_VARIANCE_LIMIT, MixturePrior

CHANNELS = 3


def stage_sides(patch: int) -> list[int]:
    """Side of the picture before C1 and after C1, C2, C3: 28 -> [28, 14, 7, 4]."""
    sides = [patch]
    for _ in range(3):
        sides.append((sides[-1] + 1) // 2)
    return sides


def widen(values: Tensor) -> Tensor:
    """float32 of a tensor in reduced precision; others stay as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def squared_error(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Sum of squared errors of each patch, two tensors (N, 3, side, side) -> (N,)."""
    return (x - widen(rebuilt)).square().flatten(1).sum(1)


class Encoder(nn.Module):
    """C1-C4 and the heads F5 (mu~) and F6 (log sigma~^2), Eq. (10).

    Args:
        filters: Output channels of C1-C4.
        latent: J.
        patch: Side of a patch in pixels.
    """

    def __init__(self, filters: Sequence[int], latent: int, patch: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = filters
        self.trunk = nn.Sequential(
            nn.Conv2d(CHANNELS, c1, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(c1, c2, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(c2, c3, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(c3, c4, stage_sides(patch)[-1]),
            nn.ReLU(),
        )
        self.mean = nn.Conv2d(c4, latent, 1)
        self.log_variance = nn.Conv2d(c4, latent, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Patches in [0, 1], (N, 3, patch, patch) -> mu~, (N, J)."""
        return self.mean(self.trunk(x)).flatten(1)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Patches in [0, 1] -> mu~ and log sigma~^2 (clamped to +-10), both (N, J)."""
        features = self.trunk(x)
        log_variance = widen(self.log_variance(features).flatten(1))
        limited = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        return widen(self.mean(features).flatten(1)), limited


class Decoder(nn.Module):
    """D8-D11, Eq. (8): the mirror of the encoder.

    Args:
        filters: Output channels of C1-C4 (C4's is not used: D8 starts from the latent vector).
        latent: J.
        patch: Side of a patch in pixels.
        output: Last activation.
    """

    def __init__(
        self,
        filters: Sequence[int],
        latent: int,
        patch: int,
        output: Literal["sigmoid", "linear"] = "sigmoid",
    ) -> None:
        super().__init__()
        c1, c2, c3, _ = filters
        sides = stage_sides(patch)
        # A transposed convolution k3 s2 p1 turns n into 2n - 1; an even side needs one more.
        extra = [1 - side % 2 for side in sides]
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent, c3, sides[3]),
            nn.ReLU(),
            nn.ConvTranspose2d(c3, c2, 3, stride=2, padding=1, output_padding=extra[2]),
            nn.ReLU(),
            nn.ConvTranspose2d(c2, c1, 3, stride=2, padding=1, output_padding=extra[1]),
            nn.ReLU(),
            nn.ConvTranspose2d(c1, CHANNELS, 3, stride=2, padding=1, output_padding=extra[0]),
            nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(N, J) -> reconstructed patches, (N, 3, patch, patch)."""
        return self.layers(z[:, :, None, None])  # type: ignore[no-any-return]  # nn.Module calls are untyped


@dataclass(frozen=True)
class LossTerms:
    """Per patch, (N,), in nats: `reconstruction` R (with its constant), `kl`; and the sample z."""

    reconstruction: Tensor
    kl: Tensor
    z: Tensor
    log_gamma: Tensor


class GmfcVae(nn.Module):
    """Encoder, decoder and mixture prior of one stream.

    `sigma_x2` is the variance of a pixel given z: one number, not trained (A6).

    Args:
        filters: Output channels of C1-C4.
        latent: J.
        components: K.
        patch: Side of a patch in pixels.
        output: Last activation of the decoder.
    """

    sigma_x2: Tensor

    def __init__(
        self,
        *,
        filters: Sequence[int] = (64, 128, 256, 64),
        latent: int = 64,
        components: int = 20,
        patch: int = 28,
        output: Literal["sigmoid", "linear"] = "sigmoid",
    ) -> None:
        super().__init__()
        self.encoder = Encoder(filters, latent, patch)
        self.decoder = Decoder(filters, latent, patch, output)
        self.prior = MixturePrior(components, latent)
        self.register_buffer("sigma_x2", torch.tensor(0.5))

    def terms(self, x: Tensor, noise: Tensor) -> LossTerms:
        """The parts of Eq. (14) for patches (N, 3, patch, patch) and noise ~ N(0, 1), (N, J)."""
        mean, log_variance = self.encoder.distribution(x)
        z = mean + torch.exp(0.5 * log_variance) * noise
        error = squared_error(x, self.decoder(z))
        # Outside any reduced precision: exponentials and sums of 10^3 terms live here.
        with torch.autocast(x.device.type, enabled=False):
            log_gamma = self.prior.log_responsibilities(z)
            kl = self.prior.kl(mean, log_variance, log_gamma)
            pixels = x[0].numel()
            constant = 0.5 * pixels * torch.log(2.0 * math.pi * self.sigma_x2)
            reconstruction = error / (2.0 * self.sigma_x2) + constant
        return LossTerms(reconstruction=reconstruction, kl=kl, z=z, log_gamma=log_gamma)

    @torch.no_grad()
    def start_joint(self, variance: float) -> None:
        """Make q(z given x) narrow: F6 gets small weights and the bias log(variance)."""
        self.encoder.log_variance.weight.mul_(0.01)
        bias = self.encoder.log_variance.bias
        assert bias is not None
        bias.fill_(math.log(variance))
