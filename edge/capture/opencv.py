"""Opening OpenCV's capture, with the backends named and its libraries silent.

OpenCV's own choice (CAP_ANY) ends with the image-sequence reader, which prints the whole name it
was given, password included, to standard error; FFmpeg's log does the same with addresses. So a
backend is always chosen here, and what went wrong is said by our own error alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2

FILE_BACKENDS = (cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER)
STREAM_BACKENDS = (cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER)
DEVICE_BACKENDS = (cv2.CAP_V4L2, cv2.CAP_GSTREAMER)

_FFMPEG_QUIET = "-8"  # AV_LOG_QUIET


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that sources use; tests pass a simulator."""

    def read(self) -> tuple[bool, Any]:
        """Next picture: (True, array) or (False, None)."""

    def grab(self) -> bool:
        """Pass the next picture; False at the end."""

    def get(self, prop: int, /) -> float:
        """Value of a property, 0 if unknown."""

    def set(self, prop: int, value: float, /) -> bool:
        """Change a property; False if it cannot be."""

    def release(self) -> None:
        """Close it."""


def open_capture(
    target: str | int,
    backends: Sequence[int],
    *,
    parameters: Sequence[int] = (),
) -> Capture | None:
    """Open `target` with the first of `backends` that is built in and takes it.

    Args:
        target: File, URL or number of a video device.
        backends: `cv2.CAP_*` numbers in order of preference.
        parameters: Pairs of `cv2.CAP_PROP_*` and value, for FFmpeg alone (others refuse unknown
            ones).

    Returns:
        The open capture, or None if no backend could open it.
    """
    # Read by OpenCV once, when FFmpeg is first used; whoever sets it outside keeps the say.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    with silent_opencv():
        return _first_open(target, backends, parameters)


@contextlib.contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to standard error; its log level is put back afterwards.

    The level is one for the process: where threads overlap here it may stay silent, no worse.
    """
    # OpenCV 5 has cv2.utils.logging, OpenCV 4 the same two functions in cv2 itself.
    logger: Any = getattr(cv2.utils, "logging", cv2)
    before = logger.setLogLevel(0)
    try:
        yield
    finally:
        logger.setLogLevel(before)


def _first_open(
    target: str | int, backends: Sequence[int], parameters: Sequence[int]
) -> Capture | None:
    for backend in backends:
        if not cv2.videoio_registry.hasBackend(backend):
            continue
        options = list(parameters) if backend == cv2.CAP_FFMPEG else []
        try:
            capture = cv2.VideoCapture(target, backend, options)
        except cv2.error:  # raised only by builds that have OPENCV_VIDEOIO_... exceptions on
            continue
        if capture.isOpened():
            return capture
        capture.release()
    return None
