"""Resampling as tables: which source cells one output cell reads, and with which weights.

The numbers are those of cv2.resize; a kernel that sums in the same order gives the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge.vision.cuda.device import THREADS, Buffer, Device, blocks

# A share of a source cell below this is left out (as in OpenCV).
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Axis:
    """One axis of a resampling: for each output cell its first source cell and its weights.

    `first` is int32 of N cells, `weight` float32, N x `taps`; unused taps weigh 0.
    """

    first: Buffer
    weight: Buffer
    taps: int


class Shrinking:
    """Area reduction of pictures or fields of one size, twin of cv2.resize(INTER_AREA).

    Args:
        device: Where the tables live.
        source: (rows, columns).
        target: (rows, columns), not larger on either side.
    """

    def __init__(self, device: Device, source: tuple[int, int], target: tuple[int, int]) -> None:
        self._device = device
        self._source, self._target = source, target
        self._whole = source[0] % target[0] == 0 and source[1] % target[1] == 0
        if not self._whole:
            self._y, self._x = (
                _area_axis(device, n, m) for n, m in zip(source, target, strict=True)
            )

    def run(self, image: Buffer, into: Buffer, channels: int = 1) -> None:
        """Reduce `image` (uint8 or float32, rows x columns (x channels)) into `into`."""
        (src_height, src_width), (height, width) = self._source, self._target
        kind = "u8" if image.dtype == np.uint8 else "f32"
        count = blocks(height * width * channels)
        if self._whole:
            self._device.launch(
                f"shrink_whole_{kind}", count, THREADS,
                image, into, src_width, width, height, channels,
                src_width // width, src_height // height,
            )  # fmt: skip
        else:
            self._device.launch(
                f"shrink_{kind}", count, THREADS,
                image, into, src_width, src_height, width, height, channels,
                self._x.first, self._x.weight, self._x.taps,
                self._y.first, self._y.weight, self._y.taps,
            )  # fmt: skip


def _area_axis(device: Device, source: int, target: int) -> Axis:
    rows = [_covered(cell, source, 1.0 / (target / source)) for cell in range(target)]
    taps = max(len(weights) for _, weights in rows)
    weight = np.zeros((target, taps), np.float32)
    for cell, (_, weights) in enumerate(rows):
        weight[cell, : len(weights)] = weights
    first = np.array([first for first, _ in rows], np.int32)
    return Axis(device.upload(first), device.upload(weight), taps)


def _covered(cell: int, source: int, scale: float) -> tuple[int, list[float]]:
    """First source cell under an output cell, and the weights from there on."""
    begin = cell * scale
    end = begin + scale
    width = min(scale, source - begin)
    last = min(math.floor(end), source - 1)
    whole = min(math.ceil(begin), last)
    weights = [1.0 / width] * (last - whole)
    first = whole
    if whole - begin > _NEGLIGIBLE:
        weights.insert(0, (whole - begin) / width)
        first -= 1
    if end - last > _NEGLIGIBLE:
        weights.append(min(end - last, 1.0, width) / width)
    return first, weights


@dataclass(frozen=True)
class LinearAxis:
    """One axis of a linear interpolation: int32 lower cell, float32 share of the next one."""

    low: Buffer
    share: Buffer


def linear_axis(device: Device, source: int, target: int, *, single: bool) -> LinearAxis:
    """Table of cv2.resize(INTER_LINEAR) along one axis; beyond the edge the last cell counts.

    Args:
        device: Where the table lives.
        source: Cells there are.
        target: Cells wanted.
        single: Positions are rounded to float32 first, as for fields of two channels in OpenCV.
    """
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    if single:
        position = position.astype(np.float32)
    low = np.floor(position).astype(np.int32)
    share = (position - low).astype(np.float32)
    share[(low < 0) | (low >= source - 1)] = 0.0
    return LinearAxis(
        device.upload(np.clip(low, 0, source - 1).astype(np.int32)), device.upload(share)
    )
