"""Strange windows made from ordinary ones: what a student has to have an opinion of.

A student that has seen nothing but a scene's normal windows answers everything with something
normal; measured on Ped2, its anomalies then drown (frame AUC of the stream about 80). Shown
windows that are turned, stretched, cut into each other or drawn on, it learns the teacher's view of
things in general (94). Nobody calls these windows anomalous: the teacher's answer is the lesson.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_SHAPES_AT_MOST = 4
_CROP_SIDES = (0.06, 0.6)  # of the frame's height


class Variations:
    """Draws strange windows.

    Args:
        windows: uint8, N x side x side x 3, normal windows, N >= 1.
        frames: uint8 pictures of the scene, height x width x 3, at least one.
        seed: Same seed, same windows in the same order.
    """

    def __init__(self, windows: Picture, frames: list[Picture], *, seed: int) -> None:
        self._windows = windows
        self._frames = frames
        self._rng = np.random.default_rng(seed)
        self._side = windows.shape[1]
        self._ways: tuple[Callable[[], Picture], ...] = (
            self.piece_of_frame,
            self.bent,
            self.bent_and_drawn_on,
            self.patched,
            self.drawn_on,
            self.drawn_on,
        )

    def draw(self, count: int) -> Picture:
        """uint8, count x side x side x 3."""
        return np.stack([self._one() for _ in range(count)])

    def piece_of_frame(self) -> Picture:
        """A piece of a frame of any size, half of them turned."""
        rng = self._rng
        frame = self._frames[int(rng.integers(len(self._frames)))]
        height, width = frame.shape[:2]
        low, high = (share * height for share in _CROP_SIDES)
        scale = self._side / rng.uniform(low, high)
        angle = rng.uniform(0.0, 360.0) if rng.random() < 0.5 else 0.0
        centre = rng.uniform(0.1, 0.9, 2) * (width, height)
        middle = (float(centre[0]), float(centre[1]))
        matrix = np.asarray(cv2.getRotationMatrix2D(middle, angle, scale), np.float64)
        matrix[:, 2] += self._side / 2 - centre
        return self._warped(frame, matrix)

    def bent(self) -> Picture:
        """A normal window turned, sheared, stretched and moved."""
        rng, middle = self._rng, self._side / 2
        angle = rng.uniform(-180.0, 180.0) if rng.random() < 0.5 else rng.uniform(-20.0, 20.0)
        scale = float(np.exp(rng.uniform(-0.9, 0.9)))
        matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), angle, scale), np.float64)
        shear, stretch = rng.uniform(-0.4, 0.4), np.exp(rng.uniform(-0.5, 0.5))
        matrix[:, :2] @= np.array([[1.0, shear], [0.0, stretch]])
        shift = rng.normal(0.0, self._side / 12, 2)
        matrix[:, 2] = middle - matrix[:, :2] @ (middle, middle) + shift
        return self._warped(self._window(), matrix)

    def patched(self) -> Picture:
        """A rectangle of one normal window in another."""
        rng, side = self._rng, self._side
        window: Picture = self._window().copy()
        top, left = rng.integers(0, 2 * side // 3, 2)
        height, width = rng.integers(side // 5, 3 * side // 4, 2)
        part = (slice(top, top + height), slice(left, left + width))
        window[part] = self._window()[part]
        return window

    def drawn_on(self) -> Picture:
        """Discs, polygons, bars and wheels over a normal window."""
        return self._shapes(self._window().copy())

    def bent_and_drawn_on(self) -> Picture:
        """Both."""
        return self._shapes(self.bent())

    def _one(self) -> Picture:
        rng = self._rng
        window = self._ways[int(rng.integers(len(self._ways)))]()
        if rng.random() < 0.3:
            contrast, light = rng.uniform(0.4, 1.6), rng.normal(0.0, 25.0)
            window = np.clip(
                (window.astype(np.float32) - 128.0) * contrast + 128.0 + light, 0, 255
            ).astype(np.uint8)
        if rng.random() < 0.4:
            sigma = rng.uniform(0.5, 2.0) * self._side / 96
            window = np.asarray(cv2.GaussianBlur(window, (0, 0), sigma), np.uint8)
        return window

    def _window(self) -> Picture:
        window: Picture = self._windows[int(self._rng.integers(len(self._windows)))]
        return window

    def _warped(self, picture: Picture, matrix: NDArray[np.float64]) -> Picture:
        size = (self._side, self._side)
        warped = cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(warped, np.uint8)

    def _shapes(self, window: Picture) -> Picture:
        for _ in range(int(self._rng.integers(1, _SHAPES_AT_MOST + 1))):
            self._shape(window)
        return window

    def _shape(self, window: Picture) -> None:
        """One shape of random place, size and colour; half of the time grey."""
        rng, side = self._rng, self._side
        colour = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.full(3, rng.integers(0, 256))
        paint = tuple(float(part) for part in colour)
        centre = rng.uniform(0.1, 0.9, 2) * side

        def point(place: NDArray[np.float64]) -> tuple[int, int]:
            return int(place[0]), int(place[1])

        kind = int(rng.integers(4))
        if kind == 0:
            axes = point(rng.uniform(0.04, 0.42, 2) * side)
            thick = -1 if rng.random() < 0.6 else int(rng.integers(2, 8))
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(window, point(centre), axes, turn, 0, 360, paint, thick, cv2.LINE_AA)
        elif kind == 1:
            corners = centre + rng.normal(0.0, 0.23 * side, (int(rng.integers(3, 8)), 2))
            cv2.fillPoly(window, [corners.astype(np.int32)], paint, cv2.LINE_AA)
        elif kind == 2:
            end = centre + rng.normal(0.0, 0.31 * side, 2)
            thick = int(rng.integers(2, 12))
            cv2.line(window, point(centre), point(end), paint, thick, cv2.LINE_AA)
        else:
            radius = max(2, int(rng.uniform(0.06, 0.21) * side))
            other = np.add(centre, (rng.uniform(0.2, 0.47) * side, 0.0))
            for hub in (centre, other):
                cv2.circle(window, point(hub), radius, paint, int(rng.integers(2, 5)), cv2.LINE_AA)
