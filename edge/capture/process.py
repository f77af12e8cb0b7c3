"""A capture process seen from the daemon: start it, hear it, take its newest picture, end it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.capture.frame_ring import MAX_PIXELS, FrameMeta, FrameRing
from edge.capture.live import LiveCamera
from edge.capture.redact import redact_known
from edge.child_process import child_environment

TERMINATE_S = 2.0
KILL_S = 5.0
_LAST_WORDS = 4000
_MESSAGE = 65_536
_REFUSED = re.compile(r"\b(401|403)\b|Unauthorized|Forbidden")
_READS = 64  # of what libraries wrote, at a time: one that never stops must not hold us


@dataclass(frozen=True)
class News:
    """What a capture process told.

    Attributes:
        fps: It has connected; nominal frames per second, None: nothing new.
        picture: There is a new picture.
        failure: It cannot go on, and why; None: it goes on.
        refused: Because the camera refuses the login.
        mend: What may help.
    """

    fps: float | None = None
    picture: bool = False
    failure: str | None = None
    refused: bool = False
    mend: str | None = None


class Capture(Protocol):
    """What the supervisor needs of a capture process; tests pass a simulator."""

    def news(self, timeout_s: float) -> News:
        """Wait at most so long, then tell what happened."""

    def peek(self) -> FrameMeta | None:
        """What is known about the newest picture."""

    def newest(self) -> tuple[FrameMeta, NDArray[np.uint8]] | None:
        """The newest picture, copied."""

    def resident_bytes(self) -> int:
        """Memory in use, without the shared pictures; 0 if unknown."""

    def stop(self) -> bool:
        """End it; False if it does not die. May be called again."""


class CaptureProcess:
    """One running capture process.

    Args:
        camera: What it reads.

    Raises:
        OSError: No process can be started.
    """

    def __init__(self, camera: LiveCamera) -> None:
        self._camera = camera
        self._ring: FrameRing | None = None
        self._tail = b""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            self._ring = FrameRing.create()
            undo.callback(self._ring.close)
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "edge.capture.child"),
                    *(str(self._ring.descriptor), str(os.getpid())),
                ],
                stdin=theirs.fileno(),
                # Libraries complain on either; OpenCV 5 passes FFmpeg's words to standard output.
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(self._ring.descriptor,),
                start_new_session=True,
                env=_environment(),
            )
            undo.pop_all()
        self._channel = ours
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        with contextlib.suppress(OSError):  # it has died already: `news` tells
            ours.send(camera.to_json())

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def news(self, timeout_s: float) -> News:
        """Wait at most so long for the process, then tell what happened."""
        output = self._process.stdout
        assert output is not None
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not output.closed:
            poll.register(output, select.POLLIN)
        poll.poll(timeout_s * 1000)
        self._listen()
        return self._drain()

    def peek(self) -> FrameMeta | None:
        """What is known about the newest picture."""
        return None if self._ring is None else self._ring.peek()

    def newest(self) -> tuple[FrameMeta, NDArray[np.uint8]] | None:
        """The newest picture, copied."""
        return None if self._ring is None else self._ring.newest()

    def resident_bytes(self) -> int:
        """Memory of the process alone; 0 if it has gone."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        except OSError:
            return 0
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> bool:
        """Ask, then kill, with all that it has started; False if it does not die."""
        for number, patience_s in ((signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, KILL_S)):
            if self._process.returncode is None:
                self._signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience_s)
        if self._process.returncode is None:
            return False
        self._signal(signal.SIGKILL)  # what it left behind in its session
        self._close()
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None
            self._channel.close()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _drain(self) -> News:
        """All messages that lie there, as one."""
        fps, picture = None, False
        while True:
            try:
                message = self._channel.recv(_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return News(fps=fps, picture=picture)
            except OSError:
                message = b""
            if not message:
                return self._died(picture=picture)
            if message == b".":
                picture = True
                continue
            told: dict[str, Any] = json.loads(message)
            if told["kind"] == "opened":
                fps = float(told["fps"])
            else:
                return self._failed(
                    str(told["what"]), told.get("mend"), refused=bool(told["refused"])
                )

    def _died(self, *, picture: bool) -> News:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        code = self._process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"code {code}"
        failed = self._failed(f"the capture process ended with {how}", None, refused=False)
        return News(picture=picture, failure=failed.failure, refused=failed.refused)

    def _failed(self, what: str, mend: str | None, *, refused: bool) -> News:
        self._listen()
        words = self.last_words
        text = redact_known(what, self._camera.address)
        if words and words not in text:
            text = f"{text} ({words})"
        return News(failure=text, refused=refused or bool(_REFUSED.search(words)), mend=mend)

    @property
    def last_words(self) -> str:
        """The last line that its libraries wrote, without credentials."""
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        return redact_known(lines[-1].strip()[:300], self._camera.address) if lines else ""

    def _listen(self) -> None:
        """Read what libraries wrote; only the end of it is kept."""
        output = self._process.stdout
        assert output is not None
        if output.closed:
            return
        for _ in range(_READS):
            try:
                data = os.read(output.fileno(), _MESSAGE)
            except BlockingIOError:
                return
            if not data:
                output.close()
                return
            self._tail = (self._tail + data)[-_LAST_WORDS:]


def _environment() -> dict[str, str]:
    kept = child_environment()
    kept["OPENCV_FFMPEG_LOGLEVEL"] = "16"  # AV_LOG_ERROR: it says why a camera cannot be opened
    kept["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    return kept
