"""What a site says about places: masks that are not scored, zones with a name and an own threshold.

Polygons are corners in 0..1 of the picture, origin top left, so they fit any size of picture and
any grid. A cell belongs to a polygon that covers at least half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import EnergyMap

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) in 0..1, at least three."""
Shape = tuple[int, int]
Grid = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FINE = 16  # sub-cells per side, to measure how much of a cell is covered
_HALF = 0.5


@dataclass(frozen=True)
class Zone:
    """A named place.

    Attributes:
        name: Its name in events.
        polygon: Where it is.
        offset: Added to the threshold there, in the unit of the scores: above 0 is less sensitive.
    """

    name: str
    polygon: Polygon
    offset: float = 0.0


@dataclass(frozen=True)
class CellRules:
    """Masks and zones of one camera."""

    masks: tuple[Polygon, ...] = ()
    zones: tuple[Zone, ...] = ()

    def ignored(self, shape: Shape) -> Mask:
        """Cells that are not scored; bool, `shape`."""
        result = np.zeros(shape, np.bool_)
        for polygon in self.masks:
            result |= covered(polygon, shape)
        return result

    def offset(self, shape: Shape) -> Grid:
        """What each cell's score must exceed the threshold by; float64, `shape`.

        Where zones overlap the most sensitive one counts.
        """
        result = np.full(shape, np.inf)
        for zone in self.zones:
            inside = covered(zone.polygon, shape)
            result[inside] = np.minimum(result[inside], zone.offset)
        return np.where(np.isinf(result), 0.0, result)

    def zones_at(self, cells: Mask) -> tuple[str, ...]:
        """Names of the zones that have one of `cells` (bool, rows x columns), in their order."""
        shape = (cells.shape[0], cells.shape[1])
        return tuple(
            zone.name for zone in self.zones if bool((covered(zone.polygon, shape) & cells).any())
        )

    def on_energy(self, energy: EnergyMap) -> EnergyMap:
        """Without what masked cells saw."""
        if not self.masks:
            return energy
        rows, columns = energy.active.shape
        ignored = self.ignored((rows, columns))
        return replace(
            energy,
            energy=np.where(ignored, 0.0, energy.energy),
            active=energy.active & ~ignored,
        )

    def on_fused(self, fused: Grid) -> Grid:
        """Zones moved by their offset, masked cells as low as any; float64, rows x columns."""
        if not self.masks and not self.zones:
            return fused
        shape = (fused.shape[0], fused.shape[1])
        moved = fused - self.offset(shape)
        return np.where(self.ignored(shape), min(0.0, float(moved.min())), moved)


EVERYWHERE = CellRules()
"""No masks, no zones."""


@lru_cache(maxsize=512)
def covered(polygon: Polygon, shape: Shape) -> Mask:
    """Cells of a grid of `shape` (rows, columns) that `polygon` covers by half or more."""
    rows, columns = shape
    fine = np.zeros((rows * _FINE, columns * _FINE), np.uint8)
    # OpenCV's pixel centres lie at whole numbers, ours half a sub-cell further.
    size = (columns * _FINE, rows * _FINE)
    corners = np.asarray(polygon, np.float64) * size - 0.5
    shift = 8  # fractional bits
    cv2.fillPoly(
        fine, [np.rint(corners * (1 << shift)).astype(np.int32)], (1,), lineType=8, shift=shift
    )
    share = fine.reshape(rows, _FINE, columns, _FINE).mean(axis=(1, 3))
    result: Mask = share >= _HALF
    result.setflags(write=False)
    return result


def area(polygon: Sequence[tuple[float, float]]) -> float:
    """Area of a polygon in 0..1 of the picture's (shoelace formula)."""
    x, y = np.asarray(polygon, np.float64).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2.0)
