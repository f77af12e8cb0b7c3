"""A video file as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import structlog

from edge.capture.images import IMAGE_SUFFIXES, bgr8_from_array
from edge.capture.opencv import FILE_BACKENDS, Capture, open_capture
from edge.capture.timing import DEFAULT_FPS, checked_fps, is_plausible_fps
from edge.frames import Frame
from engines.errors import DataError, InputMissingError, UsageError

# Frames that are passed in the time a search takes.
_WORTH_SEARCHING = 100

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


@dataclass(frozen=True)
class VideoHeader:
    """What a video file says of itself.

    Attributes:
        fps: Frames per second; 25 where the header has no believable rate.
        frame_count: Frames by the header (an estimate in some containers), None if not stated.
        width: Width of a picture in pixels, 0 if not stated.
        height: Height of a picture in pixels, 0 if not stated.
    """

    fps: float
    frame_count: int | None
    width: int
    height: int


def read_video_header(path: Path) -> VideoHeader:
    """Open a video and read its header, no frame.

    Raises:
        InputMissingError: The file is not there.
        UsageError: It is a single picture.
        DataError: It cannot be opened as a video.
    """
    capture = _open_file(path)
    try:
        return _header(capture)
    finally:
        capture.release()


class VideoSource:
    """Frames of one video file. Open it with `with`; one pass for each entry.

    `time_s` is index / fps. Frames are what decodes, in order; at the end the shortfall against the
    header's frame count is in `skipped` (a truncated file; where the container only estimates its
    count it can be off by a frame or two).

    Args:
        path: The file.
        fps: Frames per second; the header's rate if not given.
    """

    live = False

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self.name = str(path)
        self._given_fps = checked_fps(fps)
        self.fps = self._given_fps or DEFAULT_FPS
        self.frame_count: int | None = None
        self.skipped = 0
        self._path = path
        self._capture: Capture | None = None
        self._first = 0
        self._log = structlog.get_logger().bind(source=self.name)

    def __enter__(self) -> VideoSource:
        """Open the file.

        Raises:
            InputMissingError: The file is not there.
            UsageError: It is a single picture.
            DataError: It cannot be opened as a video.
        """
        self._capture = _open_file(self._path)
        header = _header(self._capture)
        self.fps = self._given_fps or header.fps
        self.frame_count = header.frame_count
        self.skipped = 0
        self._first = 0
        return self

    def skip_to(self, index: int) -> None:
        """Let the iteration start with frame `index`, without decoding all frames before it.

        The file is searched from the key frame before; where it cannot be searched, or says that it
        has come out elsewhere, the frames are passed one by one.
        """
        if self._capture is None:
            raise RuntimeError("a source is entered before it is searched")
        if index < _WORTH_SEARCHING:
            self._pass(index)
            return
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        if self._capture.get(cv2.CAP_PROP_POS_FRAMES) == index:
            self._first = index
            return
        self._capture.release()
        self._capture = _open_file(self._path)
        self._pass(index)

    def _pass(self, count: int) -> None:
        assert self._capture is not None
        while self._first < count and self._capture.grab():
            self._first += 1

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
        """Decode the frames in order.

        Raises:
            DataError: No frame decodes, or the size of the picture changes on the way.
        """
        if self._capture is None:
            raise RuntimeError("a source is iterated inside its `with` block")
        index = self._first
        size: tuple[int, ...] | None = None
        while True:
            ok, picture = self._capture.read()
            if not ok or picture is None:
                break
            bgr = bgr8_from_array(picture, where=self.name)
            size = size or bgr.shape
            if bgr.shape != size:
                raise DataError(
                    f"The picture changes from {size[1]}x{size[0]} to "
                    f"{bgr.shape[1]}x{bgr.shape[0]} at frame {index}",
                    where=self.name,
                    mend="cut the video there",
                )
            yield Frame(index=index, time_s=index / self.fps, bgr=bgr)
            index += 1
        self._finish(index)

    def _finish(self, decoded: int) -> None:
        """Report what the header promised and the file did not hold."""
        if decoded == self._first == 0:
            raise DataError(
                "No frame of the video can be decoded",
                where=self.name,
                mend="check that the file plays; it may be cut short or of an unknown codec",
            )
        self.skipped = max(0, (self.frame_count or 0) - decoded)
        if self.skipped:
            self._log.warning(
                "video_truncated",
                expected=self.frame_count,
                decoded=decoded,
                skipped=self.skipped,
            )


def _open_file(path: Path) -> Capture:
    if not path.exists():
        raise InputMissingError(
            "The file or folder does not exist",
            where=str(path),
            mend="check the path; it is taken relative to the current folder",
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UsageError(
            "This is a single picture; a video or a folder of pictures is expected",
            where=str(path),
            mend="name the folder that holds it",
        )
    capture = open_capture(str(path), FILE_BACKENDS)
    if capture is None:
        raise DataError(
            "The file cannot be opened as a video",
            where=str(path),
            mend="check that it plays; it may be cut short, empty, or of an unknown format",
        )
    return capture


def _header(capture: Capture) -> VideoHeader:
    fps = capture.get(cv2.CAP_PROP_FPS)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoHeader(
        fps=fps if is_plausible_fps(fps) else DEFAULT_FPS,
        # Raw streams report 0, negative numbers or the smallest int64 when they do not know.
        frame_count=int(count) if 0 < count < 2**40 else None,
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
    )
