"""Network cameras through FFmpeg's libraries (PyAV): RTSP, HLS and whatever else they read.

OpenCV hides what a supervisor must know: it says not why a camera cannot be opened, it stretches
pictures of a new size to the old one, and shows no key frames.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np

from edge.capture.frame_ring import MAX_PIXELS
from edge.capture.redact import redact_address
from edge.capture.timing import DEFAULT_FPS, checked_fps, is_plausible_fps
from edge.frames import Frame
from engines.errors import DataError, RefusedError, TemporaryError, UnavailableError

SILENCE_S = 30.0  # a supervisor loses patience long before
_OPTIONS = {
    "rtsp_transport": "tcp",  # the default, UDP, loses packets silently
    "analyzeduration": "1000000",  # microseconds; FFmpeg's own five seconds delay each reconnect
}
_MEND = "check address, login and network; try the address in another player"


class FfmpegSource:
    """Frames of a network camera. Open it with `with`.

    `time_s` is monotonic time since the first frame. Data that cannot be decoded counts in
    `skipped`. The size of the picture may change.

    Args:
        address: `rtsp://[user:password@]host/...` and the like.
        fps: Nominal frames per second; what the camera says if not given.
    """

    live = True

    def __init__(self, address: str, *, fps: float | None = None) -> None:
        self.name = redact_address(address)
        self._given_fps = checked_fps(fps)
        self.fps = self._given_fps or DEFAULT_FPS
        self.frame_count: int | None = None
        self.skipped = 0
        self.key_frame_s = 0.0
        """Longest time between two key frames so far."""
        self._key_s: float | None = None
        self._address = address
        self._container: Any = None

    def __enter__(self) -> FfmpegSource:
        """Connect.

        Raises:
            RefusedError: The login is wrong or missing.
            UnavailableError: No answer, or no video.
        """
        scheme = self._address.partition("://")[0].lower()
        options = _OPTIONS if scheme.startswith("rtsp") else {}
        try:
            self._container = av.open(self._address, options=options, timeout=SILENCE_S)
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as error:
            raise RefusedError(
                f"The camera refuses the login ({error.strerror})", where=self.name, mend=_MEND
            ) from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise UnavailableError(
                f"The camera cannot be opened: {why}", where=self.name, mend=_MEND
            ) from None
        if not self._container.streams.video:
            raise UnavailableError("The camera gives no video", where=self.name, mend=_MEND)
        stream = self._container.streams.video[0]
        stream.thread_type = "SLICE"  # frame threads would hold pictures back
        said = float(stream.average_rate or 0.0)
        self.fps = self._given_fps or (said if is_plausible_fps(said) else DEFAULT_FPS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames as they come.

        Raises:
            TemporaryError: The stream ended or broke.
            DataError: The picture is too large.
        """
        started = 0.0
        for index, picture in enumerate(self._pictures()):
            now = time.monotonic()
            started = started or now
            if picture.key_frame:
                self._note_key_frame(now)
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(
                    f"The picture of {picture.width}x{picture.height} is larger than "
                    f"{MAX_PIXELS} pixels",
                    where=self.name,
                    mend="set the camera to a smaller size",
                )
            yield Frame(
                index=index,
                time_s=now - started,
                bgr=np.ascontiguousarray(picture.to_ndarray(format="bgr24")),
                captured_at=datetime.datetime.now(datetime.timezone.utc),
            )

    def _note_key_frame(self, now: float) -> None:
        if self._key_s is not None:
            self.key_frame_s = max(self.key_frame_s, now - self._key_s)
        self._key_s = now

    def _pictures(self) -> Iterator[Any]:
        if self._container is None:
            raise RuntimeError("a source is iterated inside its `with` block")
        why = "the camera ended the stream"
        try:
            for packet in self._container.demux(self._container.streams.video[0]):
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:
                    self.skipped += 1
        except (av.error.FFmpegError, OSError) as error:
            why = f"the stream broke: {error.strerror or type(error).__name__}"
        raise TemporaryError(why, where=self.name, mend="check camera and network")
