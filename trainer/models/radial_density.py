"""A log-density network of radial units: for features in which a perceptron learns too little.

f(x, s) = -log sum_c w_c N(x; mu_c, (v + s^2) I), with centres, weights and v trained by the score
matching of `trainer.models.log_density`, as the perceptron is. A sum of Gaussians blurred by noise
of standard deviation s is the same sum with s^2 added to the variance, so one set of centres serves
every level exactly, the density is normalised, levels are comparable without a regulariser, and f
grows with the square of the distance from all that was seen, where nothing was learned too.
Its gradient is that of the optimal denoiser of such a density: (x - sum_c p(c | x) mu_c) / (v +
s^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.models.log_density import DensityNetwork, Standardiser

# Of v, in standardised units: a sum of needles has no slope between them.
_SMALLEST_VARIANCE = 1e-4


class RadialDensity(DensityNetwork):
    """Radial units; float32 features (N, D) -> (N, L), high = unlikely.

    Args:
        standardiser: Fitted on training features; part of the network.
        levels: L noise levels, in units of the standardised features.
        noise: Smallest and largest level of the training.
        weights: float64 (K,) to begin with, positive.
        centres: float32 (K, d) to begin with, standardised.
        variance: v to begin with.
    """

    variances: Tensor

    def __init__(
        self,
        standardiser: Standardiser,
        *,
        levels: Sequence[float],
        noise: tuple[float, float],
        weights: NDArray[np.float64],
        centres: NDArray[np.float32],
        variance: float,
    ) -> None:
        super().__init__(standardiser, levels=len(levels), noise=noise)
        self.centres = nn.Parameter(torch.from_numpy(centres.copy()))
        self.weights = nn.Parameter(torch.from_numpy(np.log(weights).astype(np.float32)))
        log_variance = math.log(max(variance, _SMALLEST_VARIANCE))
        self.log_variance = nn.Parameter(torch.tensor(log_variance))
        blur = torch.tensor(list(levels), dtype=torch.float32).square()
        self.register_buffer("variances", blur)

    def energy(self, x: Tensor, noise: Tensor) -> Tensor:
        """F of standardised features (N, d) at one noise level each (N, 1); (N,)."""
        return self._energies(x, noise.square()).squeeze(1)

    def forward(self, features: Tensor) -> Tensor:
        """Features as they come (N, D) -> energies at all levels (N, L)."""
        return self._energies(self.standardiser(features), self.variances[None])

    def _energies(self, x: Tensor, blur: Tensor) -> Tensor:
        """(N, d) and squared levels (N or 1, L) -> (N, L)."""
        variance = self.log_variance.exp().clamp(min=_SMALLEST_VARIANCE) + blur
        squares = self.centres.square().sum(1)
        distances = x.square().sum(1, keepdim=True) + squares - 2.0 * (x @ self.centres.T)
        scaled = distances[:, None, :] * (-0.5 / variance)[:, :, None]
        joint = scaled + torch.log_softmax(self.weights, 0)
        # By hand: an engine's own log-sum-exp need not take the largest out first.
        largest = joint.detach().amax(2, keepdim=True)
        total = (joint - largest).exp().sum(2).log() + largest.squeeze(2)
        half = 0.5 * self.centres.shape[1]
        energies: Tensor = half * torch.log(2.0 * math.pi * variance) - total
        return energies
