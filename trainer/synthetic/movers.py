"""How the movers of a scene look and go: height by place, speeds, places with directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Without one observed mover: a person on foot in a picture of a usual surveillance camera.
_FALLBACK_HEIGHT = 0.13  # of the picture's height
_FALLBACK_SPEED = (0.5, 0.8, 1.1)  # body heights per second
_FEWEST_FOR_LINE = 8
_MOST_FOR_LINE = 300  # observations; the slope looks at all pairs of them


@dataclass(frozen=True)
class Track:
    """What one followed mover tells.

    Attributes:
        foot: Middle of its way: x, y of the point where it touches the ground, px.
        velocity: Mean x, y in px per second.
        height: Median height, px.
        aspect: Median width over height.
    """

    foot: tuple[float, float]
    velocity: tuple[float, float]
    height: float
    aspect: float


@dataclass(frozen=True)
class HeightLine:
    """Typical height in px of a mover whose foot is at y: a line, within what was observed."""

    slope: float
    intercept: float
    low: float
    high: float

    def at(self, y: float) -> float:
        """Height in px for a foot at y px."""
        return float(min(self.high, max(self.low, self.slope * y + self.intercept)))


@dataclass(frozen=True)
class MoverStatistics:
    """Where and how things move in a scene.

    Attributes:
        height: Typical height of a mover by the y of its foot.
        speeds: 10 %, median and 90 % of the speeds, in heights of the mover per second, so that
            far and near movers are comparable.
        aspect: Median width over height.
        ways: (x, y, dx, dy) each: a place of a foot in px and the unit vector of its motion.
        observed: Number of movers behind all this; 0 = assumed, nothing isolated was seen.
    """

    height: HeightLine
    speeds: tuple[float, float, float]
    aspect: float
    ways: tuple[tuple[float, float, float, float], ...]
    observed: int

    def speed_at(self, y: float) -> float:
        """Typical speed in px per second of a mover whose foot is at y px."""
        return self.speeds[1] * self.height.at(y)


def mover_statistics(tracks: Sequence[Track], shape: tuple[int, int]) -> MoverStatistics:
    """Robust statistics of followed movers.

    Args:
        tracks: The movers; none gives what is usual for people seen by a surveillance camera.
        shape: Height and width of the picture in px.
    """
    if not tracks:
        return _assumed(shape)
    feet = np.array([track.foot for track in tracks], np.float64)
    heights = np.array([track.height for track in tracks], np.float64)
    velocity = np.array([track.velocity for track in tracks], np.float64)
    line = fit_height(feet[:, 1], heights, shape[0])
    pace = np.hypot(velocity[:, 0], velocity[:, 1])
    relative = pace / np.array([line.at(y) for y in feet[:, 1]])
    low, middle, high = np.quantile(relative, (0.1, 0.5, 0.9)).tolist()
    unit = velocity / np.maximum(pace, 1e-9)[:, None]
    ways = tuple(
        (float(x), float(y), float(dx), float(dy))
        for (x, y), (dx, dy) in zip(feet, unit, strict=True)
    )
    aspect = float(np.median([track.aspect for track in tracks]))
    return MoverStatistics(line, (low, middle, high), aspect, ways, len(tracks))


def fit_height(
    foot_y: NDArray[np.float64], heights: NDArray[np.float64], picture_height: int
) -> HeightLine:
    """Theil-Sen line through heights over foot positions.

    Constant (the median) where there are few observations, where their feet are all at about the
    same y, or where nearer things would be smaller: then it is no perspective.

    Args:
        foot_y: float64 (n,), px.
        heights: float64 (n,), px.
        picture_height: px.
    """
    middle = float(np.median(heights))
    low, high = np.quantile(heights, (0.05, 0.95)).tolist()
    constant = HeightLine(0.0, middle, middle, middle)
    if len(heights) < _FEWEST_FOR_LINE or np.ptp(foot_y) < 0.1 * picture_height:
        return constant
    some = np.linspace(0, len(heights) - 1, min(len(heights), _MOST_FOR_LINE)).astype(int)
    first, second = np.triu_indices(len(some), 1)
    run = foot_y[some][second] - foot_y[some][first]
    rise = heights[some][second] - heights[some][first]
    apart = np.abs(run) > 0.02 * picture_height
    slope = float(np.median(rise[apart] / run[apart])) if apart.any() else 0.0
    if slope <= 0.0:
        return constant
    intercept = float(np.median(heights - slope * foot_y))
    return HeightLine(slope, intercept, low, high)


def _assumed(shape: tuple[int, int]) -> MoverStatistics:
    height, width = shape
    body = _FALLBACK_HEIGHT * height
    ways = tuple(
        (share_x * width, share_y * height, heading, 0.0)
        for share_x in (0.3, 0.5, 0.7)
        for share_y in (0.55, 0.75, 0.9)
        for heading in (-1.0, 1.0)
    )
    return MoverStatistics(HeightLine(0.0, body, body, body), _FALLBACK_SPEED, 0.45, ways, 0)
