"""Motion JPEG cameras for tests, well and ill, each at a path of its own: `mjpeg_server.py PORT`.

A process of its own, so that a test can stop it with SIGSTOP as a crashed camera would stop.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import sys
import time

import cv2
import numpy as np

FPS = 20.0


def jpeg(number: int, width: int = 160, height: int = 120) -> bytes:
    """A square that walks."""
    picture = np.full((height, width, 3), 60, np.uint8)
    left = number * 7 % (width - 20)
    picture[20:40, left : left + 20] = 220
    _, data = cv2.imencode(".jpg", picture)
    return data.tobytes()


class Camera(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        behaviour = getattr(self, "serve_" + self.path.strip("/"), None)
        if behaviour is None:
            self.send_error(404)
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            behaviour()

    def serve_live(self) -> None:
        self.begin()
        for number in range(100_000):
            self.part(jpeg(number))

    def serve_frozen(self) -> None:
        self.begin()
        for _ in range(100_000):
            self.part(jpeg(3))

    def serve_resize(self) -> None:
        """Same aspect ratio, then another one."""
        self.begin()
        for number in range(100_000):
            size = [(160, 120), (80, 60), (160, 60)][number // 15 % 3]
            self.part(jpeg(number, *size))

    def serve_short(self) -> None:
        self.begin()
        for number in range(3):
            self.part(jpeg(number), pause=0.0)

    def serve_garbage(self) -> None:
        """Every second part is none; noise between them; some lengths lie."""
        self.begin()
        for number in range(100_000):
            if number % 2:
                self.part(os.urandom(500))
                self.wfile.write(os.urandom(200))
            elif number % 8 == 0:
                self.part(jpeg(number)[:-200])
            elif number % 8 == 2:
                data = jpeg(number)
                head = b"--cam\r\nContent-Length: %d\r\n\r\n" % (len(data) + 90)
                self.wfile.write(head + data + b"\r\n")
                time.sleep(1 / FPS)
            else:
                self.part(jpeg(number))

    def serve_noise(self) -> None:
        self.begin()
        for _ in range(100_000):
            self.wfile.write(os.urandom(20_000))
            time.sleep(0.01)

    def serve_drip(self) -> None:
        self.begin()
        for number in range(3):
            self.part(jpeg(number))
        data = b"--cam\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(1)
        for byte in data:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def serve_silent(self) -> None:
        time.sleep(600)

    def serve_huge(self) -> None:
        """A JPEG that says it is 65500 pixels wide and high."""
        self.begin()
        data = bytearray(jpeg(1))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (65500).to_bytes(2, "big") * 2
        for _ in range(100_000):
            self.part(bytes(data))

    def serve_redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/live")
        self.end_headers()

    def serve_secret(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="1", qop="auth"')
        self.end_headers()
        print("asked", flush=True)

    def serve_locked(self) -> None:
        """Pictures for whoever knows the login of the tests, whose password needs encoding."""
        login = base64.b64encode(b"viewer:h@n/er:2#%41").decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="cam"')
            self.end_headers()
            return
        self.serve_live()

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cam")
        self.end_headers()

    def part(self, data: bytes, *, pause: float = 1 / FPS) -> None:
        head = b"--cam\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        self.wfile.write(head + data + b"\r\n")
        time.sleep(pause)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Camera)
    print("ready", flush=True)
    server.serve_forever()
