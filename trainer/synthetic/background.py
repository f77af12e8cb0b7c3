"""The empty scene: what a pixel shows while nothing stands before it, and what differs from it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.clip_split import count_frames
from trainer.normal_clip import NormalClip

PICTURES = 60
_SAMPLED_ROWS = 40  # so many rows, as widely spaced columns: enough for a picture's median
_STRIP_ROWS = 32  # rows sorted at a time: the stack is the only large thing in memory

# Shares of the picture's height: 1, 3 and 5 px at 240 lines.
_BLUR, _SPECK, _GAP = 0.004, 0.0125, 0.021
# A pixel has moved if it differs by more than both: grey levels, and robust standard deviations
# of all differences of the picture.
_LEAST_LEVELS, _LEAST_SIGMAS = 12.0, 8.0


def median_background(clip: NormalClip, *, pictures: int = PICTURES) -> NDArray[np.uint8]:
    """The median of each pixel over evenly spaced frames of a clip.

    Only those frames are kept in memory. What covers a pixel in fewer than half of them is gone.

    Args:
        clip: Footage of a camera that does not move.
        pictures: Frames to take; a shorter clip gives all of its frames.

    Returns:
        uint8, h x w x 3, BGR.

    Raises:
        DataError: The clip has no frame, or frames of different sizes.
    """
    count = count_frames(clip)
    wanted = set(np.linspace(0, max(0, count - 1), max(1, pictures)).round().astype(int).tolist())
    with clip.open() as source:
        stack = [frame.bgr for frame in source if frame.index in wanted]
    if not stack:
        raise DataError("The clip has no frame that can be read", where=clip.name)
    if len({picture.shape for picture in stack}) > 1:
        raise DataError("The clip has frames of different sizes", where=clip.name)
    middle = len(stack) // 2
    background = np.empty_like(stack[0])
    for top in range(0, background.shape[0], _STRIP_ROWS):
        strip = np.stack([picture[top : top + _STRIP_ROWS] for picture in stack])
        background[top : top + _STRIP_ROWS] = np.partition(strip, middle, axis=0)[middle]
    return background


def moving_mask(picture: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that differ from the background: movers, without specks and with small gaps closed.

    A change of the light of the whole picture is taken out first (the median difference).

    Args:
        picture: uint8, h x w x 3.
        background: uint8, h x w x 3.

    Returns:
        bool, h x w.
    """
    height = picture.shape[0]
    step = max(1, height // _SAMPLED_ROWS)
    few = np.s_[::step, ::step]
    shift = np.median(picture[few].astype(np.int16) - background[few], axis=(0, 1))
    if shift.any():
        background = np.clip(background + shift, 0, 255).astype(np.uint8)
    difference = largest_difference(picture, background).astype(np.float32)
    level = np.asarray(cv2.GaussianBlur(difference, (0, 0), max(0.8, _BLUR * height)))
    sample = level[few]
    centre = float(np.median(sample))
    spread = 1.4826 * float(np.median(np.abs(sample - centre)))
    moved = level > max(_LEAST_LEVELS, centre + _LEAST_SIGMAS * spread)
    mask = cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_OPEN, _disc(_SPECK * height))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(_GAP * height))
    return np.asarray(mask > 0)


def largest_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Absolute difference of two pictures, the largest of the channels: uint8, h x w."""
    blue, green, red = cv2.split(cv2.absdiff(first, second))
    return np.asarray(cv2.max(cv2.max(blue, green), red), np.uint8)


def _disc(diameter: float) -> NDArray[np.uint8]:
    side = max(3, 2 * round((diameter - 1) / 2) + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
