"""A server of motion JPEG: the same walk past, again and again, once a loop with a runner in it."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
from support.clips import MemoryClip

_BOUNDARY = "next"


def walk(*, frames: int, anomaly: tuple[int, int], seed: int) -> list[bytes]:
    """JPEGs like `support.recordings.write_recording`, for `support.bundles.tiny_bundle`."""
    rng = np.random.default_rng(seed)
    pictures = []
    for frame in MemoryClip(length=frames, seed=seed).frames:
        picture = frame.bgr.copy()
        if anomaly[0] <= frame.index < anomaly[1]:
            top, left = int(rng.integers(0, 50)), int(rng.integers(0, 100))
            picture[top : top + 56, left : left + 56] = rng.integers(0, 255, (56, 56, 3))
        pictures.append(cv2.imencode(".jpg", picture)[1].tobytes())
    return pictures


class _Handler(http.server.BaseHTTPRequestHandler):
    pictures: list[bytes]
    fps: float

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.end_headers()
        begin, number = time.monotonic(), 0
        with contextlib.suppress(OSError):
            while True:
                picture = self.pictures[number % len(self.pictures)]
                head = f"--{_BOUNDARY}\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
                number += 1
                time.sleep(max(0.0, begin + number / self.fps - time.monotonic()))

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def mjpeg_camera(pictures: list[bytes], *, fps: float) -> Iterator[str]:
    """A camera; its address."""
    handler = type("Handler", (_Handler,), {"pictures": pictures, "fps": fps})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
