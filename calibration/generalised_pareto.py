"""Generalised Pareto distribution of excesses: maximum likelihood fit, log survival, sampling.

Excess y > 0 over a level has survival (1 + x y / q)^(-1/x), shape x, scale q > 0; at x = 0 it is
exp(-y/q) (Pickands 1975). The likelihood is maximised along theta = x / q, for which the best
shape is the mean of log(1 + theta y) (Davison 1984; Grimshaw 1993): the search has one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Below this many excesses the shape cannot be told from 0 (method section 4, step 3).
MIN_FOR_SHAPE = 30
_NO_SHAPE = 1e-9
_GRID = 25
_STEPS = 45  # bisections and golden-section steps: 0.618^45 is below 1e-9


@dataclass(frozen=True)
class GeneralisedPareto:
    """Shape (no unit) and scale (unit of the excesses, positive)."""

    shape: float
    scale: float

    def surprise(self, excess: NDArray[np.float64]) -> NDArray[np.float64]:
        """-log10 of the survival at `excess` >= 0; any shape, computed in logarithms."""
        ratio = excess / self.scale
        if self.shape == 0.0:
            return np.asarray(ratio / np.log(10.0))
        return np.asarray(np.log1p(self.shape * ratio) / (self.shape * np.log(10.0)))

    def excess_at(self, ratio: float) -> float:
        """Excess whose survival is 1 / `ratio`: (q/x) (ratio^x - 1), q ln ratio at x = 0."""
        log_ratio = float(np.log(ratio))
        if self.shape == 0.0:
            return self.scale * log_ratio
        return self.scale * float(np.expm1(self.shape * log_ratio)) / self.shape

    def sample(self, size: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Draw `size` excesses, float64."""
        exponential = random.standard_exponential(size)
        if self.shape == 0.0:
            return np.asarray(self.scale * exponential)
        return np.asarray(self.scale * np.expm1(self.shape * exponential) / self.shape)


def fit_generalised_pareto(
    excesses: NDArray[np.float64], *, shape_range: tuple[float, float]
) -> GeneralisedPareto:
    """Fit by maximum likelihood with the shape held inside `shape_range`.

    With fewer than `MIN_FOR_SHAPE` excesses the shape is 0 and the scale their mean.

    Args:
        excesses: N >= 1 finite positive values.
        shape_range: Lowest and highest shape; must hold 0 and lie in [-0.5, 1], where the
            likelihood has a regular maximum (Smith 1985).
    """
    mean = float(excesses.mean())
    if excesses.size < MIN_FOR_SHAPE:
        return GeneralisedPareto(0.0, mean)
    y = excesses / mean
    low, high = (_theta_of_shape(y, shape) for shape in shape_range)
    theta = _best_theta(y, low, high)
    margin = 1e-6 * (high - low)
    if theta - low < margin or high - theta < margin:
        shape = shape_range[0] if theta - low < margin else shape_range[1]
        return GeneralisedPareto(shape, mean * _scale_of_shape(y, shape))
    if abs(theta) < _NO_SHAPE:
        return GeneralisedPareto(0.0, mean)
    shape = float(np.log1p(theta * y).mean())
    return GeneralisedPareto(shape, mean * shape / theta)


def _theta_of_shape(y: NDArray[np.float64], shape: float) -> float:
    """Theta for which the best shape is `shape`; the best shape rises with theta."""
    if shape == 0.0:
        return 0.0
    if shape < 0.0:
        low, high = -1.0 / float(y.max()), 0.0
    else:
        low, high = 0.0, 1.0
        while float(np.log1p(high * y).mean()) < shape:
            high *= 2.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        inside = 1.0 + middle * float(y.max()) > 0.0
        if inside and float(np.log1p(middle * y).mean()) >= shape:
            high = middle
        else:
            low = middle
    return high


def _best_theta(y: NDArray[np.float64], low: float, high: float) -> float:
    """Maximise the profile likelihood on [low, high]: coarse grid, then golden section."""

    def cost(theta: float) -> float:
        if abs(theta) < _NO_SHAPE:
            return 0.0  # shape / theta tends to the mean excess, which is 1
        shape = float(np.log1p(theta * y).mean())
        return float(np.log(shape / theta)) + shape

    grid = np.linspace(low, high, _GRID)
    best = int(np.argmin([cost(float(theta)) for theta in grid]))
    left, right = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID - 1)])
    golden = (5.0**0.5 - 1.0) / 2.0
    inner, outer = right - golden * (right - left), left + golden * (right - left)
    inner_cost, outer_cost = cost(inner), cost(outer)
    for _ in range(_STEPS):
        if inner_cost < outer_cost:
            right, outer, outer_cost = outer, inner, inner_cost
            inner = right - golden * (right - left)
            inner_cost = cost(inner)
        else:
            left, inner, inner_cost = inner, outer, outer_cost
            outer = left + golden * (right - left)
            outer_cost = cost(outer)
    return (left + right) / 2.0


def _scale_of_shape(y: NDArray[np.float64], shape: float) -> float:
    """Scale of the highest likelihood at a given shape: mean of (1+x) y / (q + x y) is 1."""
    low = max(0.0, -shape * float(y.max()))

    def falls_short(scale: float) -> bool:
        return float(((1.0 + shape) * y / (scale + shape * y)).mean()) < 1.0

    width = 1.0
    while not falls_short(low + width):
        width *= 2.0
    high = low + width
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if falls_short(middle) else (middle, high)
    return high
