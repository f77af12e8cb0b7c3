"""MULDE's network: the negative log-density of feature vectors at several noise levels.

Micorek et al., "MULDE: Multiscale Log-Density Estimation via Denoising Score Matching for Video
Anomaly Detection", CVPR 2024. f(x, s) approaches -log q_s(x) + const, where q_s is the density of
normal features blurred by Gaussian noise of standard deviation s, because its gradient is fitted to
the direction back from a noisy point to its clean one (`matching_loss`).

Two forms of f: a multilayer perceptron, as in the paper (`LogDensity`), and radial units
(`trainer.models.radial_density`). Ours, where the paper's code does otherwise: features may be
projected on their first principal axes, and all axes may share one scale (`Standardiser`); the
noise level enters the perceptron as its logarithm, scaled to [-1, 1]; the hidden layers are narrow
enough for a device.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Grid = Literal["log", "linear"]
Scale = Literal["axis", "common"]
# A direction with less than this part of the largest spread is stretched no further.
_SMALLEST_SPREAD = 1e-3


def noise_levels(low: float, high: float, count: int, grid: Grid) -> NDArray[np.float64]:
    """Standard deviations at which a device asks for the density, rising; float64 (count,).

    ``log`` spaces them as training draws them; ``linear`` is what the authors' code does.
    """
    if grid == "log":
        return np.geomspace(low, high, count)
    return np.linspace(low, high, count)


class Standardiser(nn.Module):
    """Features around their mean, on principal axes or as they are, in units of their spread.

    Args:
        features: float32 (N, D) of normal footage, N >= 2.
        dimensions: Axes kept, at most D; 0: no projection, the components are the axes.
        scale: "axis": each axis gets unit variance, so that a distance counts rare directions as
            much as common ones; "common": one scale for all, mean variance 1, so that distances
            are those of the features.
    """

    centre: Tensor
    axes: Tensor

    def __init__(
        self, features: NDArray[np.float32], dimensions: int, scale: Scale = "axis"
    ) -> None:
        super().__init__()
        centre = features.mean(0, dtype=np.float64)
        points = features - centre
        width = points.shape[1]
        if 0 < dimensions < width:
            variances, vectors = np.linalg.eigh(points.T @ points / len(points))
            vectors, variances = vectors[:, ::-1], variances[::-1]
            spread = np.sqrt(np.maximum(variances[:dimensions], 0.0))
            vectors = vectors[:, :dimensions]
        else:
            spread, vectors = points.std(0), np.eye(width)
        if scale == "common":
            spread = np.full(len(spread), np.sqrt(np.square(spread).mean()))
        floor = max(float(spread.max()) * _SMALLEST_SPREAD, 1e-8)
        axes = vectors / np.maximum(spread, floor)
        self.register_buffer("centre", torch.from_numpy(centre.astype(np.float32)))
        self.register_buffer("axes", torch.from_numpy(np.ascontiguousarray(axes, np.float32)))

    @property
    def dimensions(self) -> int:
        """Length of what comes out."""
        return int(self.axes.shape[1])

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, dimensions)."""
        standardised: Tensor = (features - self.centre) @ self.axes
        return standardised


class DensityNetwork(nn.Module, abc.ABC):
    """A network f(x, s); float32 features (N, D) -> (N, L), high = unlikely.

    Args:
        standardiser: Fitted on training features; part of the network.
        levels: Number L of noise levels that a device asks for.
        noise: Smallest and largest level of the training.
    """

    def __init__(
        self, standardiser: Standardiser, *, levels: int, noise: tuple[float, float]
    ) -> None:
        super().__init__()
        self.standardiser = standardiser
        self.levels = levels
        self.noise = noise

    @abc.abstractmethod
    def energy(self, x: Tensor, noise: Tensor) -> Tensor:
        """F of standardised features (N, d) at one noise level each (N, 1); (N,)."""


class LogDensity(DensityNetwork):
    """A multilayer perceptron f(x, s); float32 features (N, D) -> (N, L), high = unlikely.

    Args:
        standardiser: Fitted on training features; part of the network.
        levels: L noise levels, in units of the standardised features.
        noise: Smallest and largest level of the training.
        hidden: Width of the hidden layers.
    """

    condition: Tensor

    def __init__(
        self,
        standardiser: Standardiser,
        *,
        levels: Sequence[float],
        noise: tuple[float, float],
        hidden: Sequence[int] = (512, 512),
    ) -> None:
        super().__init__(standardiser, levels=len(levels), noise=noise)
        self.first = nn.Linear(standardiser.dimensions, hidden[0])
        self.level = nn.Linear(1, hidden[0], bias=False)
        steps: list[nn.Module] = [nn.GELU()]
        for width, following in zip(hidden, [*hidden[1:], 1], strict=True):
            steps += [nn.Linear(width, following), nn.GELU()]
        self.rest = nn.Sequential(*steps[:-1])
        told = self._told(torch.tensor(list(levels), dtype=torch.float32)[:, None])
        self.register_buffer("condition", told)

    def energy(self, x: Tensor, noise: Tensor) -> Tensor:
        """F of standardised features (N, d) at one noise level each (N, 1); (N,)."""
        hidden = self.first(x) + self.level(self._told(noise))
        energies: Tensor = self.rest(hidden).squeeze(1)
        return energies

    def forward(self, features: Tensor) -> Tensor:
        """Features as they come (N, D) -> energies at all levels (N, L)."""
        base = self.first(self.standardiser(features))
        hidden = base[:, None, :] + self.level(self.condition)[None]
        # Rows of one matrix: dense layers of two axes are what INT8 and every engine take.
        energies: Tensor = self.rest(hidden.reshape(-1, hidden.shape[2]))
        return energies.reshape(-1, self.condition.shape[0])

    def _told(self, noise: Tensor) -> Tensor:
        low, high = (math.log(value) for value in self.noise)
        return (noise.log() - low) * (2.0 / max(high - low, 1e-9)) - 1.0


def draw_noise(
    count: int, dimensions: int, noise: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Levels (count, 1), log-uniform between the two of `noise`, and directions N(0, I)."""
    low, high = (math.log(value) for value in noise)
    share = torch.rand(count, 1, generator=generator)
    return torch.exp(low + share * (high - low)), torch.randn(
        count, dimensions, generator=generator
    )


def matching_loss(
    model: DensityNetwork, x: Tensor, noise: Tensor, direction: Tensor, beta: float
) -> Tensor:
    """The loss of the authors' code, a mean over N.

    1/2 s^2 |grad f(x + s n, s) - n / s|^2 + beta/2 f(x, s)^2: the gradient over the features alone
    must point from the clean point to the noisy one; the second part, at the clean point, removes
    the free constant of each level, so that levels are comparable. With f = 0 it is d / 2.

    Args:
        model: f.
        x: (N, d) standardised features, clean.
        noise: (N, 1) levels s.
        direction: (N, d) n, standard normal.
        beta: Weight of the second part.
    """
    noisy = (x + noise * direction).requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.energy(noisy, noise).sum(), noisy, create_graph=True)
    match = (noise * gradient - direction).square().sum(1).mean()
    return 0.5 * match + 0.5 * beta * model.energy(x, noise).square().mean()
