"""The clip of an event: small pictures kept from before it, written as WebM when it has ended.

Raw pictures would fill the memory, so JPEGs of at most `width` pixels at `fps` are kept: the last
`pre_s` seconds while nothing happens, all of an event while one runs, up to `max_bytes`. The `end`
of an event waits until `post_s` seconds have passed, so that its message can name the whole clip;
it waits no longer when another event begins or the camera is lost.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events.event import StoredPicture
from edge.frames import Frame
from engines.atomic import write_bytes
from engines.errors import DataError

_JPEG_QUALITY = 80
_TICKS = 1000  # milliseconds
# A device encodes beside its real work: quickly, at a quality that shows what happened.
_ENCODER = {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "1000000"}
_TOLERANCE_S = 1e-6
_SLACK_S = 2.0  # an event opens some frames after it has begun


@dataclass(frozen=True)
class FilmSpec:
    """How clips are made.

    Attributes:
        pre_s: Seconds before the event.
        post_s: Seconds after it has fallen quiet.
        fps: Pictures per second, at most.
        width: Pixels, at most.
        max_bytes: Of the pictures of one camera that are kept in memory.
    """

    pre_s: float = 5.0
    post_s: float = 5.0
    fps: float = 5.0
    width: int = 640
    max_bytes: int = 16 * 2**20


@dataclass(frozen=True)
class FilmFrame:
    """One picture of a clip: source time in seconds, JPEG."""

    time_s: float
    jpeg: bytes


class FilmBuffer:
    """One camera's newest pictures."""

    def __init__(self, spec: FilmSpec) -> None:
        self._spec = spec
        self._frames: deque[FilmFrame] = deque()
        self._bytes = 0
        self._last_s: float | None = None
        self.full = False
        """The running event is longer than the memory: its clip ends early."""

    def add(self, frame: Frame, *, keep_all: bool) -> None:
        """Take the next frame; without `keep_all` what is too old for a pre-roll is let go."""
        spec = self._spec
        if not keep_all:
            self.full = False
            while self._frames and self._frames[0].time_s < frame.time_s - spec.pre_s - _SLACK_S:
                self._bytes -= len(self._frames.popleft().jpeg)
        due_s = None if self._last_s is None else self._last_s + 1.0 / spec.fps
        if self.full or (due_s is not None and due_s - _TOLERANCE_S > frame.time_s):
            return
        jpeg = small_jpeg(frame.bgr, spec.width)
        if self._bytes + len(jpeg) > spec.max_bytes:
            if keep_all:
                self.full = True
                return
            while self._frames and self._bytes + len(jpeg) > spec.max_bytes:
                self._bytes -= len(self._frames.popleft().jpeg)
        self._frames.append(FilmFrame(frame.time_s, jpeg))
        self._bytes += len(jpeg)
        self._last_s = frame.time_s

    def cut(self, from_s: float, to_s: float) -> tuple[FilmFrame, ...]:
        """The pictures of a span of source time."""
        return tuple(one for one in self._frames if from_s <= one.time_s <= to_s)

    def clear(self) -> None:
        """Forget all: the picture has another size now."""
        self._frames.clear()
        self._bytes, self._last_s, self.full = 0, None, False


def write_film(folder: Path, stem: str, frames: tuple[FilmFrame, ...]) -> StoredPicture | None:
    """Write ``<stem>.webm`` (VP8, which browsers play), durably; None for fewer than two pictures.

    Raises:
        CannotCreateError: The folder cannot be written.
        DataError: It cannot be encoded.
    """
    if len(frames) < 2:
        return None
    data = _webm(frames)
    name = f"{stem}.webm"
    write_bytes(folder / name, data)
    return StoredPicture(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        details={
            "from_position_s": round(frames[0].time_s, 3),
            "to_position_s": round(frames[-1].time_s, 3),
        },
    )


def _webm(frames: tuple[FilmFrame, ...]) -> bytes:
    """Encode; every picture keeps its own time."""
    # Not loaded by daemons without clips: it takes memory and a good part of the start.
    import av  # noqa: PLC0415  only what is used is loaded
    import av.error  # noqa: PLC0415  only what is used is loaded

    decoded = [cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), 1) for one in frames]
    pictures = [picture for picture in decoded if picture is not None]
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])  # VP8 takes even sides
    target = io.BytesIO()
    try:
        with av.open(target, "w", format="webm") as container:
            stream: Any = container.add_stream("libvpx", rate=_TICKS, options=_ENCODER)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            for one, picture in zip(frames, pictures, strict=True):
                plain = np.ascontiguousarray(picture[:height, :width], dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(plain, format="bgr24")
                frame.pts = round((one.time_s - frames[0].time_s) * _TICKS)
                frame.time_base = Fraction(1, _TICKS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"the clip cannot be encoded: {error}") from error
    return target.getvalue()


def small_jpeg(bgr: NDArray[np.uint8], width: int) -> bytes:
    """A picture as JPEG, made smaller where it is wider than `width` pixels.

    Args:
        bgr: uint8, height x width x 3.
        width: Pixels.

    Raises:
        DataError: It cannot be encoded.
    """
    small: NDArray[Any] = bgr
    if bgr.shape[1] > width:
        height = max(2, round(bgr.shape[0] * width / bgr.shape[1]))
        small = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise DataError(f"a picture of shape {bgr.shape} cannot be encoded as JPEG")
    return bytes(data)
