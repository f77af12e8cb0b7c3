"""Live cameras as data: what a capture process is told, and which source reads which address."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edge.capture.redact import redact_address

if TYPE_CHECKING:
    from edge.capture.source import Source

_CSI = "csi:"
_GSTREAMER = "gst:"


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

    address: str = field(repr=False)
    fps: float | None = None
    overlay: tuple[tuple[tuple[float, float], ...], ...] = ()

    @property
    def name(self) -> str:
        """For messages: without a login."""
        if self.address.startswith(_GSTREAMER):
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

    Each kind is imported only where it is used: a capture process begins with every reconnect, and
    half of its time would go into libraries that this camera does not need.

    Raises:
        VigilError: It cannot be opened; see the sources.
    """
    address = camera.address
    if address.startswith((_CSI, _GSTREAMER)):
        return _enter_gstreamer(camera)
    if address.lower().startswith(("http://", "https://")):
        from edge.capture.mjpeg import MjpegSource, NotMultipartError  # noqa: PLC0415  only what is used is loaded

        try:
            return MjpegSource(address, fps=camera.fps).__enter__()
        except NotMultipartError:
            pass  # HLS, a video file: FFmpeg's part
    if "://" in address:
        from edge.capture.ffmpeg import FfmpegSource  # noqa: PLC0415  only what is used is loaded

        return FfmpegSource(address, fps=camera.fps).__enter__()
    from edge.capture.camera import CameraSource  # noqa: PLC0415  only what is used is loaded

    return CameraSource(address, fps=camera.fps, follow_size=True).__enter__()


def _enter_gstreamer(camera: LiveCamera) -> Source:
    from edge.capture.gstreamer import GstreamerSource, csi_pipeline  # noqa: PLC0415  only what is used is loaded

    address = camera.address
    if address.startswith(_CSI):
        source = GstreamerSource(csi_pipeline(address), fps=camera.fps, name=address.split("?")[0])
    else:
        source = GstreamerSource(address.removeprefix(_GSTREAMER), fps=camera.fps)
    return source.__enter__()
