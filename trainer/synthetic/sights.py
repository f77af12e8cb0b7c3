"""Isolated moving things in one picture, each with a soft mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.synthetic.background import largest_difference, moving_mask

# Plausible components: shares of the picture's area and height, filled share of the box.
_AREA = (0.0005, 0.08)
_LEAST_HEIGHT = 0.04
_LEAST_FILL = 0.35
_ALONE = 0.012  # share of the picture's height that must be free around the box
_MARGIN = 0.012  # background kept around the mask, same unit
# Within a component a pixel is the thing's if it differs by more than these levels, and this share
# of what its clear pixels differ; gaps of this share of the picture's height are its own.
_CLEAR_LEVELS, _CLEAR_SHARE, _CLOSE = 9.0, 0.22, 0.021


@dataclass(eq=False)
class Sight:
    """One component of one frame: crop, soft mask, box (x, y, w, h), middle and area in px."""

    crop: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    corner: tuple[int, int]
    box: tuple[int, int, int, int]
    middle: tuple[float, float]
    area: int

    @property
    def foot(self) -> tuple[float, float]:
        """The lowest point below the middle, px in the picture."""
        return self.middle[0], float(self.box[1] + self.box[3])

    @property
    def anchor(self) -> tuple[float, float]:
        """The same point, px in the crop."""
        return self.foot[0] - self.corner[0], self.foot[1] - self.corner[1]


def find_movers(picture: NDArray[np.uint8], background: NDArray[np.uint8]) -> list[Sight]:
    """Plausible isolated components of one picture.

    Args:
        picture: uint8, h x w x 3.
        background: uint8, h x w x 3.
    """
    height, width = picture.shape[:2]
    mask = moving_mask(picture, background)
    count, labels, stats, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    boxes = stats[1:count, :4].astype(np.int64)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    sights = []
    for i, (x, y, w, h) in enumerate(boxes.tolist()):
        inside = x > 1 and y > 1 and x + w < width - 1 and y + h < height - 1
        share = areas[i] / (height * width)
        if not (inside and _AREA[0] <= share <= _AREA[1] and h >= _LEAST_HEIGHT * height):
            continue
        if areas[i] < _LEAST_FILL * w * h or not _is_alone(boxes, i, _ALONE * height):
            continue
        margin = max(2, round(_MARGIN * height))
        left, top = max(0, x - margin), max(0, y - margin)
        window = np.s_[top : y + h + margin, left : x + w + margin]
        component = labels[window] == i + 1
        alpha = soft_mask(component, picture[window], background[window], height)
        if not (alpha >= 0.5).any():
            continue
        centre = float(middles[i + 1][0]), float(middles[i + 1][1])
        crop = picture[window].copy()
        sights.append(
            Sight(crop, alpha, (left, top), _box(alpha, left, top), centre, int(areas[i]))
        )
    return sights


def soft_mask(
    component: NDArray[np.bool_],
    picture: NDArray[np.uint8],
    background: NDArray[np.uint8],
    picture_height: int,
) -> NDArray[np.float32]:
    """The thing within a component: without holes, halo and weak shadows, with a soft edge.

    Args:
        component: bool, h x w; of `moving_mask`, so a little wide.
        picture: uint8, h x w x 3: the same crop of the picture.
        background: uint8, h x w x 3: the same crop of the background.
        picture_height: Of the whole picture, px.

    Returns:
        float32, h x w, in [0, 1]; falls from 1 to 0 over one or two px.
    """
    difference = largest_difference(picture, background).astype(np.float32)
    level = np.asarray(cv2.GaussianBlur(difference, (0, 0), 0.6))
    least = max(_CLEAR_LEVELS, _CLEAR_SHARE * float(np.quantile(level[component], 0.8)))
    side = max(3, 2 * round(0.5 * _CLOSE * picture_height) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    clear = ((level > least) & component).astype(np.uint8)
    closed = cv2.morphologyEx(clear, cv2.MORPH_CLOSE, kernel)
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    sizes = [cv2.contourArea(outline) for outline in outlines]
    kept = [o for o, size in zip(outlines, sizes, strict=True) if size >= 0.1 * max(sizes)]
    solid = np.zeros(component.shape, np.float32)
    cv2.drawContours(solid, kept, -1, (1.0,), cv2.FILLED)
    blurred = cv2.GaussianBlur(solid, (0, 0), max(0.7, 0.003 * picture_height))
    return np.asarray(np.clip((blurred - 0.15) / 0.6, 0.0, 1.0), np.float32)


def _box(alpha: NDArray[np.float32], left: int, top: int) -> tuple[int, int, int, int]:
    """x, y, width, height of what is covered by half or more, px in the picture."""
    clear = alpha >= 0.5
    rows, columns = np.flatnonzero(clear.any(axis=1)), np.flatnonzero(clear.any(axis=0))
    width, height = int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)
    return left + int(columns[0]), top + int(rows[0]), width, height


def _is_alone(boxes: NDArray[np.int64], index: int, free: float) -> bool:
    x, y, w, h = boxes[index]
    apart = (
        (boxes[:, 0] > x + w + free)
        | (boxes[:, 0] + boxes[:, 2] + free < x)
        | (boxes[:, 1] > y + h + free)
        | (boxes[:, 1] + boxes[:, 3] + free < y)
    )
    apart[index] = True
    return bool(apart.all())
