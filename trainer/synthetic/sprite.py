"""Pictures with soft masks, ready to be put into a frame at any sub-pixel place and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.synthetic.cutouts import Cutout

# Fainter than this, a pixel counts as not covered: truth and touched pixels are then the same set.
LEAST_ALPHA = 0.1
_SHORTEST_LOOP_S = 0.7  # a gait cycle is not shorter


@dataclass(frozen=True)
class Sprite:
    """A thing to paste: one or more pictures that repeat.

    Attributes:
        pictures: uint8, h x w x 3 each.
        alphas: float32, h x w each, in [0, 1].
        anchors: x, y in each picture, px: the point that stands on the ground.
        person: Height in px that a typical mover has at this sprite's scale.
        fps: Pictures per second.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    alphas: tuple[NDArray[np.float32], ...]
    anchors: tuple[tuple[float, float], ...]
    person: float
    fps: float

    @property
    def extent(self) -> tuple[float, float]:
        """Largest width and height of its pictures, px."""
        return (
            float(max(alpha.shape[1] for alpha in self.alphas)),
            float(max(alpha.shape[0] for alpha in self.alphas)),
        )

    def frozen(self, index: int) -> Sprite:
        """Only picture `index`."""
        part = slice(index, index + 1)
        return Sprite(
            self.pictures[part], self.alphas[part], self.anchors[part], self.person, self.fps
        )

    def mirrored(self) -> Sprite:
        """Heading the other way."""
        pictures = [np.ascontiguousarray(picture[:, ::-1]) for picture in self.pictures]
        alphas = [np.ascontiguousarray(alpha[:, ::-1]) for alpha in self.alphas]
        return make_sprite(pictures, alphas, self.person, self.fps)


@dataclass(frozen=True)
class Layer:
    """A sprite in a frame: rows from `top`, columns from `left`.

    Attributes:
        top: First row.
        left: First column.
        colour: float32, h x w x 3.
        alpha: float32, h x w, in [0, 1].
    """

    top: int
    left: int
    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the covered part of a picture."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def make_sprite(
    pictures: Sequence[NDArray[np.uint8]],
    alphas: Sequence[NDArray[np.float32]],
    person: float,
    fps: float,
) -> Sprite:
    """A sprite that stands on the lowest covered row, below the middle of what is covered.

    Args:
        pictures: uint8, h x w x 3 each.
        alphas: float32, h x w each; each covers something.
        person: Height in px of a typical mover at this scale.
        fps: Pictures per second.
    """
    anchors = []
    for alpha in alphas:
        rows = np.flatnonzero(alpha.max(axis=1) > 0.5 * alpha.max())
        middle = float((alpha.sum(axis=0) * np.arange(alpha.shape[1])).sum() / alpha.sum())
        anchors.append((middle, float(rows[-1] + 1)))
    return Sprite(tuple(pictures), tuple(alphas), tuple(anchors), person, fps)


def cutout_sprite(cutout: Cutout) -> Sprite:
    """A cutout that repeats without a jump: a whole gait cycle, or to and fro if it is short."""
    loop = _loop_length(cutout)
    if loop is None:
        order = [*range(len(cutout.frames)), *range(len(cutout.frames) - 2, 0, -1)]
    else:
        order = list(range(loop))
    pictures = [cutout.frames[i] for i in order]
    return make_sprite(pictures, [cutout.alphas[i] for i in order], cutout.height, cutout.fps)


def place(
    sprite: Sprite, index: int, foot: tuple[float, float], scale: float, shape: tuple[int, int]
) -> Layer | None:
    """Put one picture of a sprite into a frame.

    Args:
        sprite: The sprite.
        index: Number of the picture; they repeat.
        foot: Where the anchor goes: x, y in the frame, px.
        scale: Size factor.
        shape: Height and width of the frame, px.

    Returns:
        The part within the frame, None if there is none.
    """
    number = index % len(sprite.pictures)
    alpha, (ax, ay) = sprite.alphas[number], sprite.anchors[number]
    height, width = alpha.shape
    left, top = floor(foot[0] - scale * ax) - 1, floor(foot[1] - scale * ay) - 1
    right, bottom = left + ceil(scale * width) + 3, top + ceil(scale * height) + 3
    left, top = max(0, left), max(0, top)
    right, bottom = min(shape[1], right), min(shape[0], bottom)
    if left >= right or top >= bottom:
        return None
    shift = np.array(
        [[scale, 0.0, foot[0] - scale * ax - left], [0.0, scale, foot[1] - scale * ay - top]]
    )
    size = right - left, bottom - top
    # Multiplied by alpha first, so that no background of the crop bleeds into the edge.
    premultiplied = sprite.pictures[number].astype(np.float32) * alpha[..., None]
    warped = cv2.warpAffine(premultiplied, shift, size, flags=cv2.INTER_LINEAR)
    cover = np.asarray(cv2.warpAffine(alpha, shift, size, flags=cv2.INTER_LINEAR), np.float32)
    colour = np.asarray(warped / np.maximum(cover, 1e-3)[..., None], np.float32)
    return Layer(top, left, colour, np.clip(cover, 0.0, 1.0))


def blend(picture: NDArray[np.uint8], layer: Layer) -> NDArray[np.bool_]:
    """Paint a layer on a picture, in place.

    Args:
        picture: uint8, h x w x 3.
        layer: What to paint; alpha below LEAST_ALPHA paints nothing.

    Returns:
        bool, h x w: the pixels that were painted.
    """
    alpha = np.where(layer.alpha >= LEAST_ALPHA, layer.alpha, 0.0).astype(np.float32)
    below = picture[layer.window]
    mixed = below + alpha[..., None] * (layer.colour - below)
    picture[layer.window] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    painted = np.zeros(picture.shape[:2], np.bool_)
    painted[layer.window] = alpha > 0
    return painted


def _loop_length(cutout: Cutout) -> int | None:
    """Frames until the mover looks again as in the first one; None if it is too short to tell."""
    first = ceil(_SHORTEST_LOOP_S * cutout.fps)
    if len(cutout.frames) <= first + 1:
        return None
    looks = [
        cv2.resize(frame * alpha[..., None], (12, 24), interpolation=cv2.INTER_AREA)
        for frame, alpha in zip(cutout.frames, cutout.alphas, strict=True)
    ]
    unlike = [float(np.abs(look - looks[0]).mean()) for look in looks[first:]]
    return first + int(np.argmin(unlike))
