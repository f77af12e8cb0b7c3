"""The capture process: reads one camera into shared memory, until it is killed.

Started by `edge.capture.process`. Standard input is a socket: its first message says what to read,
and through it we say what happens (`opened`, `failed`) and that there is a new picture (an empty
line of JSON, dropped when nobody reads). Whatever a library does in here, hangs included, the
daemon can kill it. It dies with the daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import cv2

from edge.capture.frame_ring import FrameMeta, FrameRing
from edge.capture.live import LiveCamera, enter_source
from edge.capture.picture_health import PictureHealth
from edge.child_process import die_with_parent
from engines.errors import RefusedError, VigilError

if TYPE_CHECKING:
    from edge.capture.source import Source

NEW_PICTURE = b"."
_ENVELOPE = 65_536


def capture(channel: socket.socket, ring: FrameRing, camera: LiveCamera) -> NoReturn:
    """Read `camera` until it fails.

    Raises:
        VigilError: It cannot be opened, or has ended.
        OSError: The daemon has gone.
    """
    source = enter_source(camera)
    say(channel, "opened", fps=source.fps)
    health = PictureHealth(camera.overlay)
    for number, frame in enumerate(source, start=1):
        now_s = time.monotonic()
        look = health.update(frame.bgr, now_s)
        ring.write(
            frame.bgr,
            FrameMeta(
                number=number,
                mono_s=now_s,
                wall_s=time.time(),
                width=frame.bgr.shape[1],
                height=frame.bgr.shape[0],
                still_s=look.still_s,
                changes=look.changes,
                luma_mean=look.luma_mean,
                luma_sd=look.luma_sd,
                skipped=source.skipped,
                key_frame_s=getattr(source, "key_frame_s", 0.0),
            ),
        )
        _ring_the_bell(channel)
    raise _ended(source)


def say(channel: socket.socket, kind: str, **facts: object) -> None:
    """Tell the daemon something that it must not miss."""
    channel.send(json.dumps({"kind": kind, **facts}).encode())


def _ring_the_bell(channel: socket.socket) -> None:
    # If nobody reads, the daemon is busy and will look at the newest picture anyway.
    with contextlib.suppress(BlockingIOError):
        channel.send(NEW_PICTURE, socket.MSG_DONTWAIT)


def _ended(source: Source) -> VigilError:
    return VigilError("the camera has ended", where=source.name)


def main() -> None:
    """Take the order from standard input and carry it out."""
    die_with_parent()
    if os.getppid() != int(sys.argv[2]):  # the daemon died before the line above
        return
    channel = socket.socket(fileno=0)
    ring = FrameRing(int(sys.argv[1]))
    cv2.setNumThreads(1)
    camera = LiveCamera.from_json(channel.recv(_ENVELOPE))
    try:
        capture(channel, ring, camera)
    except VigilError as error:
        refused = isinstance(error, RefusedError)
        say(channel, "failed", what=error.what, mend=error.mend, refused=refused)


if __name__ == "__main__":
    main()
