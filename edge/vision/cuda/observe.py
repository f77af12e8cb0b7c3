"""Working-size pictures and the coarse flow on a GPU: twins of `edge.vision.observe` and `gate`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.cuda.device import THREADS, Buffer, Device, blocks
from edge.vision.cuda.tables import Shrinking
from edge.vision.flow import FlowImage, GreyImage
from edge.vision.observe import COARSE_PX
from engines.errors import UsageError


class Pictures:
    """Reduces frames of one size and makes them grey. One per camera; its buffers are reused.

    Args:
        device: The GPU.
        source: (rows, columns) of the camera's frames.
        target: (rows, columns) of the working size, not larger on either side.

    Raises:
        UsageError: The working size is larger; enlarging is left to the CPU.
    """

    def __init__(self, device: Device, source: tuple[int, int], target: tuple[int, int]) -> None:
        if target[0] > source[0] or target[1] > source[1]:
            raise UsageError(
                f"frames of {source[1]} x {source[0]} px cannot be enlarged on the GPU",
                mend="choose a working size that is not larger than the camera's picture",
            )
        self._device = device
        self._same = source == target
        self._pixels = target[0] * target[1]
        self._shrinking = None if self._same else Shrinking(device, source, target)
        self._bgr = device.empty((*target, 3), np.uint8)
        # The flow compares each picture with the one before.
        self._grey, self._before = (device.empty(target, np.uint8) for _ in range(2))

    def resize(self, frame: Buffer) -> Buffer:
        """uint8, rows x columns x 3 in and out; twin of `edge.vision.observe.resize`."""
        if self._shrinking is None:
            return frame
        self._shrinking.run(frame, self._bgr, channels=3)
        return self._bgr

    def grey(self, bgr: Buffer) -> Buffer:
        """Grey picture of a working-size one.

        Args:
            bgr: uint8, rows x columns x 3.

        Returns:
            uint8, rows x columns; overwritten by the call after the next one.
        """
        self._grey, self._before = self._before, self._grey
        self._device.launch(
            "grey_from_bgr", blocks(self._pixels), THREADS, bgr, self._grey, self._pixels
        )
        return self._grey


class Coarse:
    """Averages flows over 4 px cells; twin of `edge.vision.observe.coarsen`.

    Args:
        device: The GPU.
        height: Rows of the flow.
        width: Columns of the flow.
    """

    def __init__(self, device: Device, height: int, width: int) -> None:
        shape = height // COARSE_PX, width // COARSE_PX
        self._shrinking = Shrinking(device, (height, width), shape)
        self._flow = device.empty((*shape, 2), np.float32)

    def run(self, flow: Buffer) -> Buffer:
        """float32, H x W x 2 in, H // 4 x W // 4 x 2 out; overwritten by the next call."""
        self._shrinking.run(flow, self._flow, channels=2)
        return self._flow


def coarsen(device: Device, flow: FlowImage) -> FlowImage:
    """Average a flow over 4 px cells: float32, H x W x 2 in, H // 4 x W // 4 x 2 out."""
    coarse = Coarse(device, *flow.shape[:2])
    return np.asarray(device.download(coarse.run(device.upload(flow))))


def moved_on_device(device: Device, previous: Buffer, current: Buffer, threshold: int) -> Buffer:
    """uint8 1 where a grey value changed by more than `threshold`; all uint8, rows x columns."""
    moved = device.empty(current.shape, np.uint8)
    pixels = current.size
    device.launch(
        "moved_pixels", blocks(pixels), THREADS, previous, current, moved, pixels, threshold
    )
    return moved


def moved_pixels(
    device: Device, previous: GreyImage, current: GreyImage, threshold: int
) -> NDArray[np.bool_]:
    """Pixels whose grey value changed by more than `threshold` (of 255); bool, height x width."""
    moved = moved_on_device(device, device.upload(previous), device.upload(current), threshold)
    result: NDArray[Any] = device.download(moved)
    return result.astype(np.bool_)
