"""Camera servers as processes, and a real supervisor over a real capture process."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.broker import free_port

from edge.capture.camera_state import Change, Patience
from edge.capture.live import LiveCamera
from edge.capture.process import CaptureProcess
from edge.capture.supervisor import CameraSupervisor
from edge.clock import SystemClock
from edge.frames import Frame

SERVERS = Path(__file__).parent / "servers"
SYSTEM_PYTHON = "/usr/bin/python3"
IN_CI = os.environ.get("CI") == "true"


class CameraServer:
    """A camera that can be switched off, hung and switched on again, at one port."""

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        self.port = free_port()
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(self.port), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def said(self) -> str:
        """What it printed; ends it."""
        assert self._process is not None
        self._process.kill()
        out, _ = self._process.communicate()
        self._process = None
        return out


@contextmanager
def mjpeg_server() -> Iterator[CameraServer]:
    script = str(SERVERS / "mjpeg_server.py")
    server = CameraServer(lambda port: [sys.executable, script, str(port)])
    server.start()
    try:
        yield server
    finally:
        server.kill()


@functools.cache
def rtsp_missing() -> str | None:
    """Why there can be no RTSP server; None: there can."""
    test = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); "
        "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
        "assert Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')"
    )
    done = subprocess.run([SYSTEM_PYTHON, "-c", test], capture_output=True, check=False)
    if done.returncode == 0:
        return None
    return (
        "no RTSP server: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 "
        "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
    )


@contextmanager
def rtsp_server(*options: str, codec: str = "h264") -> Iterator[CameraServer]:
    if (reason := rtsp_missing()) is not None:
        (pytest.fail if IN_CI else pytest.skip)(reason)
    script = str(SERVERS / "rtsp_server.py")
    server = CameraServer(lambda port: [SYSTEM_PYTHON, script, str(port), codec, *options])
    server.start()
    try:
        yield server
    finally:
        server.kill()


def need_gstreamer() -> None:
    if shutil.which("gst-launch-1.0") is None:
        reason = "no gst-launch-1.0: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base"
        (pytest.fail if IN_CI else pytest.skip)(reason)


HASTY = Patience(
    connect_s=30.0,  # a busy machine takes seconds to start a process
    stale_s=1.0,
    lost_s=1.0,
    frozen_s=1.5,
    frozen_retry_s=60.0,
    backoff_min_s=0.1,
    backoff_max_s=0.3,
    quarantine_s=60.0,
)
# Where a test is about something else, a busy machine must not look like a silent camera.
CALM = replace(HASTY, stale_s=10.0, lost_s=10.0)


class Watch:
    """A supervised camera, and all that it told."""

    def __init__(self, address: str, patience: Patience = HASTY) -> None:
        self.announce = threading.Event()
        self.processes: list[CaptureProcess] = []
        self._camera = LiveCamera(address)
        self.supervisor = CameraSupervisor(
            name="yard",
            launch=self._launch,
            patience=patience,
            clock=SystemClock(),
            announce=self.announce,
        )
        self.changes: list[Change] = []
        self.frames: list[Frame] = []

    def _launch(self) -> CaptureProcess:
        process = CaptureProcess(self._camera)
        self.processes.append(process)
        return process

    def __enter__(self) -> Watch:
        self.supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        begin = time.monotonic()
        self.supervisor.close()
        assert time.monotonic() - begin < 8.0, "a camera must not hold up the end of the daemon"
        for process in self.processes:
            assert not Path(f"/proc/{process.pid}").exists()

    @property
    def states(self) -> list[str]:
        return [change.state for change in self.changes]

    @property
    def reasons(self) -> set[str | None]:
        return {change.reason for change in self.changes}

    def until(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Do what the daemon's loop does until `done`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.announce.wait(0.05)
            self.announce.clear()
            self.changes += self.supervisor.drain()
            frame = self.supervisor.take()
            if frame is not None:
                self.frames.append(frame)
            if done():
                return
            assert time.monotonic() < deadline, f"states so far: {self.changes}"

    def more_frames(self, count: int = 5, timeout_s: float = 60.0) -> None:
        wanted = len(self.frames) + count
        self.until(lambda: len(self.frames) >= wanted, timeout_s)

    def state(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until a state is entered from now on."""
        begin = len(self.changes)
        self.until(lambda: name in self.states[begin:], timeout_s)
