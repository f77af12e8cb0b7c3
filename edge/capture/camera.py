"""A live camera or stream as a source: RTSP, HTTP, V4L2 device, through OpenCV.

A plain source for one camera in this process. OpenCV's reads cannot be trusted to return, so a
supervisor that must survive that runs it in a child process and kills the child; this class keeps
no thread and no state that would be in the way.
"""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import cv2
import structlog

from edge.capture.images import bgr8_from_array
from edge.capture.opencv import DEVICE_BACKENDS, STREAM_BACKENDS, Capture, open_capture
from edge.capture.redact import redact_address
from edge.capture.timing import DEFAULT_FPS, checked_fps, is_plausible_fps
from edge.frames import Frame
from engines.errors import TemporaryError, UnavailableError

OPEN_TIMEOUT_MS = 15_000
READ_TIMEOUT_MS = 10_000
MAX_FAILED_READS = 5  # in a row; USB cameras drop single frames, a lost stream fails for good

_NODE = re.compile(r"/dev/video(\d+)")


def is_device(spec: str | Path) -> bool:
    """Whether `spec` names a video device: `N` as text, `/dev/videoN`, or a link to one."""
    return (
        (isinstance(spec, str) and spec.isdecimal())
        or _NODE.fullmatch(str(spec)) is not None
        or Path(spec).is_char_device()
    )


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class CameraSource:
    """Frames of a camera, until it is lost or the caller stops. Open it with `with`.

    `time_s` is monotonic time since the first frame, `captured_at` is UTC. `name` is the address
    without its credentials. A read that fails takes an index and counts in `skipped`; after five in
    a row the camera is lost.

    Args:
        address: `rtsp://...`, `http://...` and the like, `/dev/videoN` or `N`.
        fps: Nominal frames per second; what the camera says if not given.
        follow_size: Go on when the camera changes the size of its picture, instead of raising.
        opener: Opens the address; tests pass a simulator.
        monotonic: Clock for durations, seconds.
        now: Clock for people, UTC.
    """

    live = True

    def __init__(
        self,
        address: str,
        *,
        fps: float | None = None,
        follow_size: bool = False,
        opener: Callable[[str], Capture | None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime.datetime] = _utc_now,
    ) -> None:
        self.name = redact_address(address)
        self._given_fps = checked_fps(fps)
        self.fps = self._given_fps or DEFAULT_FPS
        self.frame_count: int | None = None
        self.skipped = 0
        self._address = address
        self._follow_size = follow_size
        self._opener = opener or _open_camera
        self._monotonic = monotonic
        self._now = now
        self._capture: Capture | None = None
        self._log = structlog.get_logger().bind(source=self.name)

    def __enter__(self) -> CameraSource:
        """Connect.

        Raises:
            UnavailableError: The device is not there, or the camera does not answer.
        """
        capture = self._opener(self._address)
        if capture is None:
            raise UnavailableError(
                "The camera cannot be opened",
                where=self.name,
                mend="check address, login and network; try the address in another player",
            )
        self._capture = capture
        said = capture.get(cv2.CAP_PROP_FPS)
        self.fps = self._given_fps or (said if is_plausible_fps(said) else DEFAULT_FPS)
        self.skipped = 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames as they come.

        Raises:
            TemporaryError: The camera stopped delivering, or changed the size of its picture;
                opening it again is useful.
        """
        if self._capture is None:
            raise RuntimeError("a source is iterated inside its `with` block")
        index = failed = 0
        size: tuple[int, ...] | None = None
        started: float | None = None
        while failed < MAX_FAILED_READS:
            ok, picture = self._capture.read()
            if not ok or picture is None:
                failed += 1
                self.skipped += 1
                index += 1
                continue
            failed = 0
            captured_at, ticks = self._now(), self._monotonic()
            started = ticks if started is None else started
            bgr = bgr8_from_array(picture, where=self.name)
            size = bgr.shape if size is None or self._follow_size else size
            self._require_same_size(size, bgr.shape)
            yield Frame(index=index, time_s=ticks - started, bgr=bgr, captured_at=captured_at)
            index += 1
        raise TemporaryError(
            f"The camera stopped delivering frames after {index - self.skipped}",
            where=self.name,
            mend="check camera and network, then start again",
        )

    def _require_same_size(self, size: tuple[int, ...], now: tuple[int, ...]) -> None:
        """A new size voids flow history and masks: the stream must be opened anew."""
        if now != size:
            raise TemporaryError(
                f"The camera changed its picture from {size[1]}x{size[0]} to {now[1]}x{now[0]}",
                where=self.name,
                mend="start again; calibrate again if the view changed",
            )


def _open_camera(address: str) -> Capture | None:
    """Open a device or a URL.

    Raises:
        UnavailableError: There is no such video device.
    """
    if is_device(address):
        return _open_device(Path(f"/dev/video{address}" if address.isdecimal() else address))
    # RTSP over TCP is asked for because the default differs between builds of OpenCV, which reads
    # this from the environment only.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    return open_capture(
        address,
        STREAM_BACKENDS,
        parameters=(
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            OPEN_TIMEOUT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            READ_TIMEOUT_MS,
        ),
    )


def _open_device(node: Path) -> Capture | None:
    """Open a V4L2 device by its node or a udev link to it (`/dev/v4l/by-path/...`)."""
    number = _NODE.fullmatch(str(node.resolve()))
    if number is None or not node.exists():
        raise UnavailableError(
            "There is no such video device",
            where=str(node),
            mend="list devices with `ls /dev/video*`; is the camera plugged in?",
        )
    return open_capture(int(number[1]), DEVICE_BACKENDS)
