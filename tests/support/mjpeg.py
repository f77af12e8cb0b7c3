"""A live MJPEG camera on loopback: the frames of a clip, round and round, at its own speed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


@contextlib.contextmanager
def mjpeg_camera(
    pictures: Sequence[np.ndarray], *, fps: float, host: str = "127.0.0.1"
) -> Iterator[str]:
    """Its address."""
    encoded = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            begin = time.monotonic()
            with contextlib.suppress(OSError):
                number = 0
                while not over.wait(max(0.0, begin + number / fps - time.monotonic())):
                    data = encoded[number % len(encoded)]
                    head = f"--frame\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    self.wfile.write(head + data + b"\r\n")
                    number += 1

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/stream"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
