"""Dense inverse search on a GPU: the algorithm and the settings of `edge.vision.flow`.

The settings are read from OpenCV's own preset, so the two paths cannot drift apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge.vision.cuda.device import THREADS, Buffer, Device, blocks
from edge.vision.cuda.tables import LinearAxis, Shrinking, linear_axis
from edge.vision.flow import FlowImage, GreyImage
from engines.errors import InternalError, UsageError

# What the kernels in search.cu and refine.cu are written for.
PATCH = 8
STRIDE = 4
STRIPES = 8
LANES = 4
REFINE_PLANES = 19
REFINE_THREADS = 1024
# Of OpenCV's refinement inside the flow; it has no getter.
SWEEPS = 5
PASSES = 2
# A stripe has one group of four threads for each of its rows of patches, in a block of at most 256.
_MOST_ROWS = STRIPES * 256 // LANES


@dataclass(frozen=True)
class Settings:
    """OpenCV's "fast" preset as numbers."""

    finest: int
    steps: int
    iterations: int
    alpha: float
    delta: float
    gamma: float
    epsilon: float


def fast_preset() -> Settings:
    """The settings of the CPU path.

    Raises:
        InternalError: This OpenCV's preset is not the one that the kernels are written for.
    """
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    fixed = (dis.getPatchSize(), dis.getPatchStride(), dis.getUseMeanNormalization())
    if fixed != (PATCH, STRIDE, True) or not dis.getUseSpatialPropagation():
        raise InternalError(
            f"OpenCV {cv2.__version__} has another flow preset than the CUDA kernels",
            mend="run without CUDA, or with the OpenCV that constraints.txt names",
        )
    return Settings(
        finest=dis.getFinestScale(),
        steps=dis.getGradientDescentIterations() // PASSES,
        iterations=dis.getVariationalRefinementIterations(),
        alpha=dis.getVariationalRefinementAlpha(),
        delta=dis.getVariationalRefinementDelta(),
        gamma=dis.getVariationalRefinementGamma(),
        # Before OpenCV 4.10 it was a constant without a getter.
        epsilon=getattr(dis, "getVariationalRefinementEpsilon", lambda: 0.001)(),
    )


def pyramid(height: int, width: int, finest: int) -> tuple[int, list[tuple[int, int]]]:
    """Levels of the search for a picture of this size.

    Returns:
        The power of two of the finest level, and (rows, columns) of all levels, finest first.

    Raises:
        UsageError: A level would be smaller than a patch.
    """
    coarsest = -1
    if min(height, width) >= PATCH:
        coarsest = min(
            int(math.log(max(height, width) / (4.0 * PATCH)) / math.log(2.0) + 0.5),
            int(math.log(min(height, width) // PATCH) / math.log(2.0)),
        )
        if coarsest < finest:  # small pictures: OpenCV chooses by the width alone
            coarsest = max(0, math.floor(math.log2(2.0 * width / (5.0 * PATCH))))
            finest = max(coarsest - 2, 0)
    sizes = [(height >> finest, width >> finest)]
    while len(sizes) <= coarsest - finest:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    if coarsest < 0 or min(sizes[-1]) < PATCH:
        raise UsageError(
            f"a picture of {width} x {height} px is too small for the flow's pyramid",
            mend="choose a larger working size",
        )
    return finest, sizes


class DenseFlow:
    """DIS flow with OpenCV's "fast" preset; one instance per camera, its buffers are reused.

    Args:
        device: The GPU.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._settings = fast_preset()
        self._plan: _Plan | None = None

    def calc(self, previous: GreyImage, current: GreyImage) -> FlowImage:
        """Flow from `previous` to `current`, through the host's memory.

        Args:
            previous: uint8, height x width.
            current: uint8, same size.

        Returns:
            float32, height x width x 2: (u right, v down) in pixels per frame; a new array.

        Raises:
            UsageError: The picture is too small for the pyramid, or too tall.
        """
        first, second = self._device.upload(previous), self._device.upload(current)
        return np.asarray(self._device.download(self.calc_on_device(first, second)))

    def calc_on_device(self, previous: Buffer, current: Buffer) -> Buffer:
        """The same on the device; the buffer that comes back is overwritten by the next call."""
        height, width = previous.shape
        if self._plan is None or self._plan.shape != (height, width):
            self._plan = _Plan(self._device, self._settings, height, width)
        return self._plan.run(previous, current)


def _patches(pixels: int) -> int:
    """Patches along one side."""
    return 1 + (pixels - PATCH) // STRIDE


class _Plan:
    """Buffers and tables of one picture size."""

    def __init__(self, device: Device, settings: Settings, height: int, width: int) -> None:
        self.shape = (height, width)
        self._device = device
        exponent, sizes = pyramid(height, width, settings.finest)
        if _patches(sizes[0][0]) > _MOST_ROWS:
            raise UsageError(
                f"a picture of {height} rows is too tall for the CUDA flow",
                mend="choose a smaller working size",
            )
        shrinkings = [
            Shrinking(device, source, target)
            for source, target in zip([self.shape, *sizes], sizes, strict=False)
        ]
        self._levels = [
            _Level(device, settings, size, shrinking)
            for size, shrinking in zip(sizes, shrinkings, strict=True)
        ]
        self._enlargings = [
            tuple(
                linear_axis(device, n, m, single=target == self.shape)
                for n, m in zip(source, target, strict=True)
            )
            for source, target in zip(sizes, [self.shape, *sizes], strict=False)
        ]
        self._scale = float(2**exponent)
        self._flow = device.empty((height, width, 2), np.float32)

    def run(self, previous: Buffer, current: Buffer) -> Buffer:
        images = previous, current
        for level in self._levels:
            images = level.reduce(*images)
        coarsest = self._levels[-1]
        zero = np.zeros(coarsest.size, np.float32)
        self._device.upload(zero, into=coarsest.u)
        self._device.upload(zero, into=coarsest.v)
        for index in reversed(range(len(self._levels))):
            level = self._levels[index]
            level.solve()
            finer = self._levels[index - 1] if index else None
            self._enlarge(level, finer, *self._enlargings[index])
        return self._flow

    def _enlarge(self, level: _Level, finer: _Level | None, y: LinearAxis, x: LinearAxis) -> None:
        height, width = finer.size if finer else self.shape
        self._device.launch(
            "enlarge", blocks(height * width), THREADS,
            level.u, level.v, finer.u if finer else self._flow, finer.v if finer else self._flow,
            level.size[1], level.size[0], width, height, x.low, x.share, y.low, y.share,
            2.0 if finer else self._scale, int(finer is None),
        )  # fmt: skip


class _Level:
    """One level of the pyramid: its pictures, and the flow (`u`, `v`) on it."""

    def __init__(
        self, device: Device, settings: Settings, size: tuple[int, int], shrinking: Shrinking
    ) -> None:
        self.size = size
        height, width = size
        self._device = device
        self._settings = settings
        self._shrinking = shrinking
        self._down, self._across = _patches(height), _patches(width)
        self._first = device.empty(size, np.uint8)
        self._second = device.empty(size, np.uint8)
        self._dx = device.empty(size, np.int16)
        self._dy = device.empty(size, np.int16)
        self._sums = device.empty((5, height, self._across), np.float32)
        self._tensor = device.empty((5, self._down, self._across), np.float32)
        self._sparse = device.empty((2, self._down, self._across), np.float32)
        self._planes = device.empty((REFINE_PLANES, height, width), np.float32)
        self.u = device.empty(size, np.float32)
        self.v = device.empty(size, np.float32)

    def reduce(self, first: Buffer, second: Buffer) -> tuple[Buffer, Buffer]:
        """Take the pictures of the level below; returns this level's."""
        self._shrinking.run(first, self._first)
        self._shrinking.run(second, self._second)
        return self._first, self._second

    def solve(self) -> None:
        """Improve the flow that `u` and `v` start with."""
        self._search()
        if self._settings.iterations:
            self._refine()

    def _search(self) -> None:
        height, width = self.size
        launch, pixels = self._device.launch, blocks(height * width)
        launch("gradient", pixels, THREADS, self._first, self._dx, self._dy, width, height)
        launch(
            "tensor_rows", blocks(height * self._across), THREADS,
            self._dx, self._dy, self._sums, width, height, self._across,
        )  # fmt: skip
        launch(
            "tensor_columns", blocks(5 * self._across), THREADS,
            self._sums, self._tensor, height, self._across, self._down,
        )  # fmt: skip
        launch(
            "inverse_search", STRIPES, LANES * -(-self._down // STRIPES),
            self._first, self._second, self._dx, self._dy, self._tensor, self.u, self.v,
            self._sparse.part(0), self._sparse.part(1),
            width, height, self._across, self._down, self._settings.steps,
        )  # fmt: skip
        launch(
            "densify", pixels, THREADS,
            self._sparse.part(0), self._sparse.part(1), self._first, self._second,
            self.u, self.v, width, height, self._across, self._down,
        )  # fmt: skip

    def _refine(self) -> None:
        height, width = self.size
        s = self._settings
        self._device.launch(
            "refine", 1, REFINE_THREADS,
            self._first, self._second, self.u, self.v, self._planes, width, height,
            s.iterations, SWEEPS, s.alpha, s.delta, s.gamma, s.epsilon,
        )  # fmt: skip
