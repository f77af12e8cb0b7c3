"""Live cameras as data: what a capture process is told, and which source reads which address."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from edge.capture.camera import CameraSource
from edge.capture.gstreamer import CSI, SCHEME, GstreamerSource, csi_pipeline
from edge.capture.mjpeg import MjpegSource, NotMultipartError
from edge.capture.redact import redact_address
from edge.capture.source import Source


@dataclass(frozen=True)
class LiveCamera:
    """One live camera.

    Attributes:
        address: `rtsp://...`, `http://...`, `/dev/videoN`, `N`, `csi://N`, `gst:PIPELINE`; may
            hold a login, so it is shown nowhere.
        fps: Nominal frames per second, where the camera does not say or says wrong.
        overlay: Polygons (corners in 0..1) that the camera itself writes to, such as a clock; left
            out when the picture is tested for standing still.
    """

    address: str
    fps: float | None = None
    overlay: tuple[tuple[tuple[float, float], ...], ...] = ()

    @property
    def name(self) -> str:
        """For messages: without a login."""
        if self.address.startswith(SCHEME):
            return self.address.split("!")[0].split()[0]
        return redact_address(self.address)

    def to_json(self) -> bytes:
        """For the capture process."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> LiveCamera:
        """The other way."""
        values: dict[str, Any] = json.loads(data)
        values["overlay"] = tuple(
            tuple((float(x), float(y)) for x, y in polygon) for polygon in values["overlay"]
        )
        return cls(**values)


def enter_source(camera: LiveCamera) -> Source:
    """Connect to a camera, and give its entered source.

    Raises:
        VigilError: It cannot be opened; see the sources.
    """
    address = camera.address
    if CSI.match(address):
        return GstreamerSource(
            csi_pipeline(address), fps=camera.fps, name=address.split("?")[0]
        ).__enter__()
    if address.startswith(SCHEME):
        return GstreamerSource(address.removeprefix(SCHEME), fps=camera.fps).__enter__()
    if address.lower().startswith(("http://", "https://")):
        try:
            return MjpegSource(address, fps=camera.fps).__enter__()
        except NotMultipartError:
            pass  # HLS, a video file: FFmpeg's part
    if "://" in address:
        # Loaded only here: it takes a quarter of a second, which a reconnect need not wait.
        from edge.capture.ffmpeg import FfmpegSource  # noqa: PLC0415

        return FfmpegSource(address, fps=camera.fps).__enter__()
    return CameraSource(address, fps=camera.fps, follow_size=True).__enter__()
