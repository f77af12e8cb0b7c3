"""From a camera frame to what all streams share, on the device: twin of `edge.vision.observe`."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame
from edge.vision.cuda.device import Buffer, Device
from edge.vision.cuda.flow import DenseFlow
from edge.vision.cuda.observe import Coarse, Pictures, moved_on_device
from edge.vision.flow import FlowImage, GreyImage
from edge.vision.observe import Observed, resize
from engines.errors import InternalError
from engines.model_spec import FrameSpec, GateSpec


class DeviceObservation:
    """One frame on the device; an `Observed`, whose arrays are fetched when they are asked for.

    Valid until the next frame of the same camera: the buffers are used again.

    Attributes:
        index: Frame index of the source.
        time_s: Presentation time in seconds.
        dt_s: Seconds since the frame before; 0 on the first frame.
        picture: uint8, height x width x 3, BGR.
        grey: uint8, height x width.
        before: The grey picture of the frame before; None on the first frame.
        motion: float32, height x width x 2, px per frame; None on the first frame.
    """

    def __init__(
        self,
        device: Device,
        frame: Frame,
        *,
        dt_s: float,
        picture: Buffer,
        grey: Buffer,
        before: Buffer | None,
        motion: Buffer | None,
        coarse: Coarse,
        threshold: int,
    ) -> None:
        self._device = device
        self._coarse = coarse
        self._threshold = threshold
        self.index = frame.index
        self.time_s = frame.time_s
        self.dt_s = dt_s
        self.picture = picture
        self.grey = grey
        self.before = before
        self.motion = motion

    @property
    def has_flow(self) -> bool:
        """False on the first frame."""
        return self.motion is not None

    @cached_property
    def coarse_motion(self) -> Buffer | None:
        """float32, height // 4 x width // 4 x 2, px per frame, on the device."""
        return None if self.motion is None else self._coarse.run(self.motion)

    @cached_property
    def moved_pixels(self) -> Buffer | None:
        """uint8 1 where the grey value changed; height x width, on the device; None: nothing."""
        if self.before is None:
            return None
        return moved_on_device(self._device, self.before, self.grey, self._threshold)

    @cached_property
    def bgr(self) -> NDArray[np.uint8]:
        """uint8, height x width x 3, fetched from the device."""
        return np.asarray(self._device.download(self.picture), np.uint8)

    @cached_property
    def gray(self) -> GreyImage:
        """uint8, height x width, fetched from the device."""
        return np.asarray(self._device.download(self.grey), np.uint8)

    @cached_property
    def flow(self) -> FlowImage | None:
        """float32, height x width x 2, px per frame, fetched from the device."""
        return self._fetched(self.motion)

    @cached_property
    def coarse_flow(self) -> FlowImage | None:
        """float32, height // 4 x width // 4 x 2, px per frame, fetched from the device."""
        return self._fetched(self.coarse_motion)

    @cached_property
    def moved(self) -> NDArray[np.bool_]:
        """bool, height x width, fetched from the device."""
        if self.moved_pixels is None:
            return np.zeros(self.grey.shape, np.bool_)
        return self._device.download(self.moved_pixels).astype(np.bool_)

    def _fetched(self, buffer: Buffer | None) -> FlowImage | None:
        if buffer is None:
            return None
        return np.asarray(self._device.download(buffer), np.float32)


class DeviceObserver:
    """Keeps the frame before; one per camera or clip. Twin of `edge.vision.observe.Observer`.

    Args:
        device: The GPU.
        frame: Working size.
        gate: Its threshold.
    """

    def __init__(self, device: Device, frame: FrameSpec, gate: GateSpec) -> None:
        self._device = device
        self._size = (frame.height, frame.width)
        self._threshold = gate.threshold
        self._dense = DenseFlow(device)
        self._coarse = Coarse(device, *self._size)
        self._upload: Buffer | None = None
        self._pictures: Pictures | None = None
        self._before: Buffer | None = None
        self._before_s = 0.0

    def reset(self) -> None:
        """Forget the frame before (cut, reconnect, new clip)."""
        self._before = None

    def observe(self, frame: Frame) -> DeviceObservation:
        """Upload the next frame of this camera; flow and the rest follow on the device.

        Raises:
            UnavailableError: Out of device memory.
        """
        picture = self._picture(frame.bgr)
        assert self._pictures is not None
        before, grey = self._before, self._pictures.grey(picture)
        self._before = grey
        dt_s = 0.0 if before is None else frame.time_s - self._before_s
        self._before_s = frame.time_s
        return DeviceObservation(
            self._device,
            frame,
            dt_s=dt_s,
            picture=picture,
            grey=grey,
            before=before,
            motion=None if before is None else self._dense.calc_on_device(before, grey),
            coarse=self._coarse,
            threshold=self._threshold,
        )

    def _picture(self, bgr: NDArray[np.uint8]) -> Buffer:
        """The working-size picture. Smaller frames are enlarged on the host before the upload."""
        height, width = self._size
        if bgr.shape[0] < height or bgr.shape[1] < width:
            bgr = resize(bgr, width, height)
        if self._upload is None or self._upload.shape != bgr.shape:
            self._upload = self._device.empty(bgr.shape, np.uint8)
            self._pictures = Pictures(self._device, (bgr.shape[0], bgr.shape[1]), self._size)
        assert self._pictures is not None
        return self._pictures.resize(self._device.upload(bgr, into=self._upload))


def on_device(observation: Observed) -> DeviceObservation:
    """The observation of a device input.

    Raises:
        InternalError: It was made on the host.
    """
    if not isinstance(observation, DeviceObservation):
        raise InternalError("an input on the GPU was given an observation of the CPU")
    return observation
