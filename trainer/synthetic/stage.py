"""What a kind of anomaly is made for: one base section, its scene and how its camera sees."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, inf, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.synthetic.cutouts import Cutout
from trainer.synthetic.movers import HeightLine, MoverStatistics
from trainer.synthetic.sprite import Sprite

NORMAL_PACE = (0.85, 1.2)  # of the typical speed
FADE_S = 0.3
_TURN_DEG = 8.0  # paths turn from an observed direction by up to this
_SHIFT = 0.02  # paths are moved aside by up to this share of the picture's height
_SOBEL_SIGMA = 0.76  # px: what the gradient filter itself adds to the blur of an edge
_TRIES = 4  # paths drawn, of which the one is taken that stays closest to where feet were seen


@dataclass(frozen=True)
class Stage:
    """One base section.

    Attributes:
        background: uint8, h x w x 3: the empty scene.
        cutouts: Movers to paste; may be empty.
        statistics: How movers of the scene look and go.
        edge_sigma: Blur of the camera, px (standard deviation).
        noise_sigma: Noise of the camera, grey levels (standard deviation).
        seconds: Length of the section.
        start_s: When the anomaly begins.
    """

    background: NDArray[np.uint8]
    cutouts: tuple[Cutout, ...]
    statistics: MoverStatistics
    edge_sigma: float
    noise_sigma: float
    seconds: float
    start_s: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture, px."""
        return self.background.shape[0], self.background.shape[1]

    @property
    def is_grey(self) -> bool:
        """Whether the camera gives no colour."""
        return bool((np.ptp(self.background[::4, ::4], axis=2) <= 2).mean() > 0.99)

    @property
    def ground_level(self) -> float:
        """Median grey level of the empty scene where feet were seen."""
        height, width = self.shape
        ways = self.statistics.ways
        rows = [min(height - 1, max(0, round(way[1]))) for way in ways]
        columns = [min(width - 1, max(0, round(way[0]))) for way in ways]
        return float(np.median(self.background[rows, columns]))


@dataclass(frozen=True)
class Path:
    """A straight way over the ground, and the size of what goes there.

    Attributes:
        start: x, y of the foot in px when it begins.
        velocity: x, y in px per second.
        start_s: When it begins.
        stop_s: When the thing stops for good.
        size: Typical height of a mover by the y of its foot.
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    start_s: float
    size: HeightLine
    stop_s: float = inf

    def at(self, time_s: float) -> tuple[float, float]:
        """Position of the foot in px."""
        gone = max(0.0, min(time_s, self.stop_s) - self.start_s)
        return self.start[0] + gone * self.velocity[0], self.start[1] + gone * self.velocity[1]


@dataclass(frozen=True)
class Paste:
    """Something put into the frames.

    Attributes:
        sprite: What.
        path: Where and when.
        factor: Its size relative to a typical mover at the place.
        rate: Speed of its limbs or wheels; 1 = as recorded or drawn.
        noise_sigma: Noise added to it, grey levels.
        masked_from_s: When it begins to be an anomaly.
        fade_s: Time over which it appears; 0 where it comes in from the side.
        in_front: Nearer to the camera than everybody, wherever its foot is.
    """

    sprite: Sprite
    path: Path
    masked_from_s: float
    factor: float = 1.0
    rate: float = 1.0
    noise_sigma: float = 0.0
    fade_s: float = FADE_S
    in_front: bool = False


@dataclass(frozen=True)
class Replay:
    """The whole section played otherwise.

    Attributes:
        pace: Frames of footage for each frame of the result; 1 or more.
        backwards: From the last frame to the first.
    """

    pace: float = 1.0
    backwards: bool = False


Act = Paste | Replay


def draw_path(
    stage: Stage,
    rng: np.random.Generator,
    *,
    pace: tuple[float, float],
    factor: float = 1.0,
    half_width: float = 0.3,
) -> Path:
    """A path where movers were seen, about in their direction.

    Args:
        stage: The scene.
        rng: Decides.
        pace: Slowest and fastest, in typical speeds of a mover at that place.
        factor: Size of the thing relative to a mover; speed grows with it.
        half_width: Half its width in heights of a mover, for coming in from the side.
    """
    tries = [
        _one_path(stage, rng, pace=pace, factor=factor, half_width=half_width)
        for _ in range(_TRIES)
    ]
    return min(tries, key=lambda path: _off_the_way(stage, path))


def fade_in_s(path: Path, shape: tuple[int, int], half_width: float) -> float:
    """FADE_S for a path that begins within the picture, 0 for one that comes in from the side."""
    x, y = path.start
    body = path.size.at(y)
    aside = x <= -0.5 * half_width * body or x >= shape[1] + 0.5 * half_width * body
    return 0.0 if aside or y <= 0 else FADE_S


def edge_sigma(picture: NDArray[np.uint8]) -> float:
    """Blur of a picture from how much its edges lose by a known blur (Zhuo and Sim, 2011).

    Args:
        picture: uint8, h x w x 3.

    Returns:
        Standard deviation in px, between 0.4 and 2.5.
    """
    known = 1.0  # px
    grey = picture.mean(axis=2).astype(np.float32)
    sharp = _gradient(grey)
    ratio = sharp / np.maximum(_gradient(cv2.GaussianBlur(grey, (0, 0), known)), 1e-3)
    strong = sharp >= max(1.0, float(np.quantile(sharp, 0.99)))
    if not strong.any():
        return known
    loss = max(1.02, float(np.median(ratio[strong])))
    seen = known**2 / (loss**2 - 1.0)
    return float(np.clip(np.sqrt(max(0.0, seen - _SOBEL_SIGMA**2)), 0.4, 2.5))


def _one_path(
    stage: Stage,
    rng: np.random.Generator,
    *,
    pace: tuple[float, float],
    factor: float,
    half_width: float,
) -> Path:
    """A path through one observed place, about in the direction observed there."""
    statistics = stage.statistics
    active_s = stage.seconds - stage.start_s
    x, y, dx, dy = statistics.ways[int(rng.integers(len(statistics.ways)))]
    x, y = (float(v + rng.uniform(-_SHIFT, _SHIFT) * stage.shape[0]) for v in (x, y))
    turn = radians(float(rng.uniform(-_TURN_DEG, _TURN_DEG)))
    dx, dy = dx * cos(turn) - dy * sin(turn), dx * sin(turn) + dy * cos(turn)
    speed = float(rng.uniform(*pace)) * statistics.speed_at(y) * factor
    velocity = speed * dx, speed * dy
    body = statistics.height.at(y) * factor
    entry_s = _since_border((x, y), velocity, stage.shape, half_width * body, body)
    # It is at the observed place in the midst of the time, or sooner if it would not be in the
    # picture yet when it begins.
    there_s = min(entry_s, active_s * float(rng.uniform(0.3, 0.6)))
    start = x - there_s * velocity[0], y - there_s * velocity[1]
    return Path(start, velocity, stage.start_s, statistics.height)


def _off_the_way(stage: Stage, path: Path) -> float:
    """How far a path is from where feet were seen, in heights of a mover.

    Times outside of the picture count as far away: a path should be seen.
    """
    height, width = stage.shape
    feet = np.array([way[:2] for way in stage.statistics.ways])
    far = []
    for time_s in np.linspace(stage.start_s, stage.seconds, 9)[1:].tolist():
        x, y = path.at(time_s)
        body = path.size.at(y)
        seen = 0.0 <= x < width and 0.0 < y < height + 0.5 * body
        nearest = float(np.hypot(feet[:, 0] - x, feet[:, 1] - y).min())
        far.append(min(1.0, nearest / body) if seen else 1.0)
    return float(np.mean(far))


def _gradient(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return np.asarray(np.hypot(x, y), np.float32)


def _since_border(
    place: tuple[float, float],
    velocity: tuple[float, float],
    shape: tuple[int, int],
    half_width: float,
    body: float,
) -> float:
    """Seconds since a thing at a place was just outside of the picture."""
    height, width = shape
    speed = max(hypot(*velocity), 1e-6)
    unit = velocity[0] / speed, velocity[1] / speed
    ways = []
    if abs(unit[0]) > 1e-3:
        border = -half_width if unit[0] > 0 else width + half_width
        ways.append((place[0] - border) / unit[0])
    if abs(unit[1]) > 1e-3:
        border = 0.0 if unit[1] > 0 else height + body
        ways.append((place[1] - border) / unit[1])
    return max(0.0, min(ways)) / speed
