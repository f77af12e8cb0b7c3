"""Where frames come from: the protocol, and the one function that picks a source for a name.

A source is cheap to construct and checks nothing then; `with` acquires and raises; iteration gives
`Frame`s. Whatever wraps a source later (a supervised child process, a recorder) needs only this
protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable
from urllib.parse import unquote

from edge.capture.camera import CameraSource, is_device
from edge.capture.folder import FolderSource
from edge.capture.gstreamer import GstreamerSource, csi_pipeline
from edge.capture.redact import redact_address
from edge.capture.video import VideoSource
from edge.frames import Frame
from engines.errors import UsageError

STREAM_SCHEMES = frozenset({"http", "https", "rtmp", "rtsp", "rtsps", "srt", "tcp", "udp"})


GSTREAMER = "gst:"
"""What a GStreamer pipeline begins with where a source is named."""


class Source(Protocol):
    """Frames of one folder, video or camera."""

    @property
    def name(self) -> str:
        """For messages and logs; never holds credentials."""

    @property
    def fps(self) -> float:
        """Nominal frames per second, final once entered; recordings: `time_s` = index / fps."""

    @property
    def frame_count(self) -> int | None:
        """Length in frames where it is known, once entered; None for live sources."""

    @property
    def skipped(self) -> int:
        """Frames that could not be read so far."""

    @property
    def live(self) -> bool:
        """Cameras and streams: True; recordings: False."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...


@runtime_checkable
class Searchable(Protocol):
    """A recording that need not be read from its beginning."""

    def skip_to(self, index: int) -> None:
        """Once entered: let the iteration start with the frame of this index."""


def is_live_address(spec: str) -> bool:
    """Whether `spec` names a camera or a stream, and not a recording."""
    scheme, separator, _ = spec.partition("://")
    if separator and scheme.lower() in STREAM_SCHEMES | {"csi"}:
        return True
    return spec.startswith(GSTREAMER) or (not separator and is_device(spec))


def open_source(spec: str | Path, *, fps: float | None = None) -> Source:
    """Choose the source for a folder of pictures, a video file, a URL or a device.

    Opens nothing: that is done by `with`, which also raises if the thing is not there.

    Args:
        spec: Folder, file, `file://` or stream URL, `/dev/videoN`, `csi://N`, `gst:PIPELINE`; a
            bare number as text is a video device (write `./0` for a folder of that name; a `Path`
            is never a number).
        fps: Frames per second; if not given, the video's or camera's own, or 10 for a folder.

    Raises:
        UsageError: The scheme of the URL is not known, or `fps` is no rate.
    """
    text = str(spec)
    scheme, separator, rest = text.partition("://")
    if isinstance(spec, str) and spec.startswith(GSTREAMER):  # an address may stand inside
        return GstreamerSource(spec.removeprefix(GSTREAMER), fps=fps)
    if isinstance(spec, str) and separator:
        if scheme.lower() in STREAM_SCHEMES:
            return CameraSource(text, fps=fps)
        if scheme.lower() == "csi":
            return GstreamerSource(csi_pipeline(text), fps=fps, name=text)
        if scheme.lower() != "file":
            raise UsageError(
                f"Sources of type {scheme!r} are not known",
                where=redact_address(text),
                mend=f"use a path or one of {', '.join(sorted(STREAM_SCHEMES | {'csi'}))}",
            )
        spec = Path(unquote(rest))
    elif is_device(spec):
        return CameraSource(text, fps=fps)
    path = Path(spec)
    return FolderSource(path, fps=fps) if path.is_dir() else VideoSource(path, fps=fps)
