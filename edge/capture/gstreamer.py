"""Cameras that only GStreamer can read, such as CSI cameras of a Jetson: any pipeline as a source.

The pipeline runs in `gst-launch-1.0`, which hands us YUV4MPEG through a pipe. So no Python needs to
be linked with GStreamer: the usual OpenCV wheels are not, and those of JetPack fit one Python only.
"""

from __future__ import annotations

import datetime
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from types import TracebackType
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.capture.redact import redact
from edge.capture.timing import DEFAULT_FPS, checked_fps, is_plausible_fps
from edge.frames import Frame
from engines.errors import DataError, TemporaryError, UnavailableError, UsageError

LAUNCHER = "gst-launch-1.0"
GUARD = "setpriv"
"""Has the kernel kill the pipeline when we end, however we end."""
_PACKAGES = {
    LAUNCHER: "gstreamer1.0-tools gstreamer1.0-plugins-good",
    GUARD: "util-linux",
}
CSI = re.compile(r"csi://(\d+)(?:\?width=(\d+)&height=(\d+)&fps=(\d+))?")

# The newest picture wins here too; Y4M knows I420, whatever the camera gives.
_TAIL = (
    "! queue leaky=downstream max-size-buffers=1 ! videoconvert ! video/x-raw,format=I420 "
    "! y4menc ! fdsink fd=1 sync=false"
)
_MAGIC = "YUV4MPEG2 "
_HEADER_MAX = 256
_SIDE_MAX = 8192


def csi_pipeline(address: str) -> str:
    """The pipeline of a CSI camera on a Jetson.

    Args:
        address: `csi://0`, or `csi://0?width=1280&height=720&fps=15`.

    Raises:
        UsageError: Not such an address.
    """
    found = CSI.fullmatch(address)
    if found is None:
        raise UsageError(
            "this is not the address of a CSI camera",
            where=address,
            mend="write csi://0 or csi://0?width=1280&height=720&fps=15",
        )
    sensor, width, height, fps = (part or None for part in found.groups())
    size = f",width={width},height={height},framerate={fps}/1" if width else ""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM){size} "
        "! nvvidconv ! video/x-raw,format=I420"
    )


class GstreamerSource:
    """Frames of a GStreamer pipeline that ends in raw video. Open it with `with`.

    Args:
        pipeline: As for `gst-launch-1.0`, without a sink: `v4l2src ! videorate ! ...`.
        fps: Nominal frames per second; what the pipeline says if not given.
        name: For messages; the pipeline's first element if not given.
    """

    live = True

    def __init__(self, pipeline: str, *, fps: float | None = None, name: str | None = None) -> None:
        try:
            self._words = shlex.split(pipeline)
        except ValueError as error:
            raise UsageError(
                f"the pipeline cannot be read: {error}",
                where=redact(pipeline),
                mend="write it as for gst-launch-1.0, every quotation mark with its other",
            ) from error
        self.name = name or "gst:" + (self._words[0] if self._words else "")
        self._given_fps = checked_fps(fps)
        self.fps = self._given_fps or DEFAULT_FPS
        self.frame_count: int | None = None
        self.skipped = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GstreamerSource:
        """Start the pipeline.

        Raises:
            UnavailableError: There is no GStreamer, or no setpriv.
        """
        found = {name: shutil.which(name) for name in _PACKAGES}
        for name, path in found.items():
            if path is None:
                raise UnavailableError(
                    f"there is no {name}",
                    where=self.name,
                    mend=f"install it: apt-get install {_PACKAGES[name]}",
                )
        # Not a function between fork and exec: that is unsafe where other threads run.
        guarded = [str(found[GUARD]), "--pdeathsig", "KILL", str(found[LAUNCHER])]
        self._process = subprocess.Popen(
            [*guarded, "-q", *self._words, *_TAIL.split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames as they come.

        Raises:
            TemporaryError: The pipeline ended.
            DataError: It gives something else than pictures.
        """
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("a source is iterated inside its `with` block")
        pipe = self._process.stdout
        width, height, fps = self._read_header(pipe)
        self.fps = self._given_fps or (fps if is_plausible_fps(fps) else DEFAULT_FPS)
        size = width * height * 3 // 2
        index, started = 0, 0.0
        while pipe.readline(_HEADER_MAX).startswith(b"FRAME"):
            data = pipe.read(size)
            if len(data) < size:
                break
            now = time.monotonic()
            started = started or now
            yield Frame(
                index=index,
                time_s=now - started,
                bgr=_bgr_from_i420(data, width, height),
                captured_at=datetime.datetime.now(datetime.timezone.utc),
            )
            index += 1
        raise self._ended()

    def _read_header(self, pipe: IO[bytes]) -> tuple[int, int, float]:
        line = pipe.readline(_HEADER_MAX)
        if not line:
            raise self._ended()
        # Tagged words in any order: W and H are pixels, F is a rate as a fraction.
        words = line.decode("latin-1").removeprefix(_MAGIC).split()
        tags = {word[0]: word[1:] for word in words}
        try:
            width, height = int(tags["W"]), int(tags["H"])
            rate, base = (int(part) for part in tags["F"].split(":"))
        except (KeyError, ValueError):
            width = height = rate = base = 0
        if not 0 < width <= _SIDE_MAX or not 0 < height <= _SIDE_MAX:
            raise DataError(
                f"the pipeline gives no pictures that can be used: {line[:60]!r}", where=self.name
            )
        if width % 8 or height % 2:
            # GStreamer pads the rows of other sizes, and not all its versions alike.
            raise DataError(
                f"the pipeline gives pictures of {width}x{height}",
                where=self.name,
                mend="the width must be a multiple of 8 and the height even: end the pipeline with "
                f"! videoscale ! video/x-raw,width={width // 8 * 8},height={height // 2 * 2}",
            )
        return width, height, rate / base if base else 0.0

    def _ended(self) -> TemporaryError:
        return TemporaryError(
            "the pipeline has ended",
            where=self.name,
            mend=f"try it by hand: {LAUNCHER} PIPELINE ! fakesink",
        )


def _bgr_from_i420(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    planes = np.frombuffer(data, np.uint8).reshape(height * 3 // 2, width)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), dtype=np.uint8)
