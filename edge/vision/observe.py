"""From a camera frame to what all streams share: working-size pictures, flow, moved pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame
from edge.vision.flow import DenseFlow, FlowImage, GreyImage
from edge.vision.gate import moved_pixels
from engines.model_spec import FrameSpec, GateSpec

COARSE_PX = 4
"""Side of a cell of the coarse flow, in pixels of the working frame."""


class Observed(Protocol):
    """One frame at working size; see `Observation`. From a GPU an array comes when asked for."""

    @property
    def index(self) -> int:
        """Frame index of the source."""

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""

    @property
    def dt_s(self) -> float:
        """Seconds since the frame before; 0 on the first frame."""

    @property
    def has_flow(self) -> bool:
        """False on the first frame."""

    @property
    def bgr(self) -> NDArray[np.uint8]:
        """uint8, height x width x 3."""

    @property
    def gray(self) -> GreyImage:
        """uint8, height x width."""

    @property
    def flow(self) -> FlowImage | None:
        """float32, height x width x 2, px per frame; None on the first frame."""

    @property
    def coarse_flow(self) -> FlowImage | None:
        """float32, height // 4 x width // 4 x 2, px per frame; None on the first frame."""

    @property
    def moved(self) -> NDArray[np.bool_]:
        """bool, height x width: grey value changed by more than the gate's threshold."""


class FrameObserver(Protocol):
    """Keeps the frame before. One per camera or clip."""

    def reset(self) -> None:
        """Forget the frame before (cut, reconnect, new clip)."""

    def observe(self, frame: Frame) -> Observed:
        """Take the next frame of this camera."""


@dataclass(frozen=True)
class Observation:
    """One frame at working size, and what changed since the frame before.

    Attributes:
        index: Frame index of the source.
        time_s: Presentation time in seconds.
        dt_s: Seconds since the frame before; 0 on the first frame.
        bgr: uint8, height x width x 3.
        gray: uint8, height x width.
        flow: float32, height x width x 2, px per frame from the frame before; None on the first.
        coarse_flow: float32, height // 4 x width // 4 x 2: the flow averaged over 4 px cells,
            px per frame; None on the first.
        previous: uint8, height x width: the grey picture before; None on the first.
        threshold: The gate's, of 255.
    """

    index: int
    time_s: float
    dt_s: float
    bgr: NDArray[np.uint8]
    gray: GreyImage
    flow: FlowImage | None
    coarse_flow: FlowImage | None
    previous: GreyImage | None
    threshold: int

    @property
    def has_flow(self) -> bool:
        """False on the first frame."""
        return self.flow is not None

    @cached_property
    def moved(self) -> NDArray[np.bool_]:
        """bool, height x width: grey value changed by more than the threshold.

        Computed where an input asks for it: windows and speeds have a gate of their own.
        """
        if self.previous is None:
            return np.zeros(self.gray.shape, np.bool_)
        return moved_pixels(self.previous, self.gray, self.threshold)


def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize a uint8 picture: area interpolation if any side shrinks, else linear."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] > height or image.shape[1] > width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def coarsen(flow: FlowImage) -> FlowImage:
    """Average a flow over 4 px cells: float32, H x W x 2 in, H // 4 x W // 4 x 2 out."""
    size = flow.shape[1] // COARSE_PX, flow.shape[0] // COARSE_PX
    return np.asarray(cv2.resize(flow, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


class Observer:
    """Keeps the frame before; computes flow and moved pixels. One per camera or clip."""

    def __init__(self, frame: FrameSpec, gate: GateSpec) -> None:
        self._size = (frame.width, frame.height)
        self._threshold = gate.threshold
        self._flow = DenseFlow()
        self._previous: GreyImage | None = None
        self._previous_s = 0.0

    def reset(self) -> None:
        """Forget the frame before (cut, reconnect, new clip)."""
        self._previous = None

    def observe(self, frame: Frame) -> Observation:
        """Take the next frame of this camera."""
        bgr = resize(frame.bgr, *self._size)
        gray = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        previous = self._previous
        flow, coarse, dt_s = None, None, 0.0
        if previous is not None:
            flow = self._flow.calc(previous, gray)
            coarse = coarsen(flow)
            dt_s = frame.time_s - self._previous_s
        self._previous = gray
        self._previous_s = frame.time_s
        return Observation(
            index=frame.index,
            time_s=frame.time_s,
            dt_s=dt_s,
            bgr=bgr,
            gray=gray,
            flow=flow,
            coarse_flow=coarse,
            previous=previous,
            threshold=self._threshold,
        )
