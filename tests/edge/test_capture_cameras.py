"""Cameras: a simulated capture for the rules, a real MJPEG stream over loopback for the path."""

from __future__ import annotations

import base64
import datetime
import http.server
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.capture.camera import CameraSource, is_device
from edge.capture.folder import FolderSource
from edge.capture.redact import redact, redact_known
from edge.capture.source import open_source
from edge.capture.video import VideoSource
from engines.errors import TemporaryError, UnavailableError, UsageError

NOON = datetime.datetime(2024, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)
PICTURE = np.full((24, 32), 7, np.uint8)


class SimulatedCapture:
    """Gives what it was told to; None is a failed read. The clock moves 0.2 s with each read."""

    def __init__(self, *reads: NDArray[np.uint8] | None, fps: float = 5.0) -> None:
        self.reads = list(reads)
        self.fps = fps
        self.ticks = 100.0
        self.released = False

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.ticks += 0.2
        picture = self.reads.pop(0) if self.reads else None
        return picture is not None, picture

    def get(self, prop: int, /) -> float:
        return self.fps if prop == cv2.CAP_PROP_FPS else 0.0

    def release(self) -> None:
        self.released = True


def camera(capture: SimulatedCapture | None, address: str = "rtsp://h/1") -> CameraSource:
    return CameraSource(
        address,
        opener=lambda _: capture,
        monotonic=lambda: capture.ticks if capture else 0.0,
        now=lambda: NOON,
    )


class TestCamera:
    def test_time_is_monotonic_since_the_first_frame(self) -> None:
        capture = SimulatedCapture(PICTURE, PICTURE, PICTURE)
        with camera(capture) as source:
            assert (source.live, source.frame_count, source.fps) == (True, None, 5.0)
            frames = list(itertools.islice(source, 3))
        assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.4])
        assert [frame.index for frame in frames] == [0, 1, 2]
        assert frames[0].captured_at == NOON
        assert frames[0].bgr.shape == (24, 32, 3)
        assert capture.released

    def test_failed_reads_take_an_index_and_are_counted(self) -> None:
        with camera(SimulatedCapture(PICTURE, None, None, PICTURE)) as source:
            frames = list(itertools.islice(source, 2))
            assert [frame.index for frame in frames] == [0, 3]
            assert source.skipped == 2

    def test_lost_camera_says_so(self) -> None:
        frames = []
        with (
            camera(SimulatedCapture(PICTURE, PICTURE), "rtsp://me:secret@h/1") as source,
            pytest.raises(TemporaryError, match="stopped delivering frames after 2") as caught,
        ):
            frames.extend(source)
        assert caught.value.where == "rtsp://***@h/1"

    def test_change_of_size_needs_a_new_start(self) -> None:
        capture = SimulatedCapture(PICTURE, np.zeros((48, 64, 3), np.uint8))
        with camera(capture) as source, pytest.raises(TemporaryError, match="32x24 to 64x48"):
            list(source)

    def test_unknown_rate_falls_back_and_a_given_one_wins(self) -> None:
        with camera(SimulatedCapture(fps=0.0)) as source:
            assert source.fps == 25.0
        given = CameraSource("0", fps=8, opener=lambda _: SimulatedCapture())
        with given as source:
            assert source.fps == 8.0

    def test_camera_that_does_not_open(self) -> None:
        with pytest.raises(UnavailableError, match="cannot be opened"):
            camera(None).__enter__()

    def test_device_that_is_not_there(self) -> None:
        for spec in ("987", "/dev/video987"):
            with pytest.raises(UnavailableError) as caught:
                open_source(spec).__enter__()
            assert caught.value.where == "/dev/video987"


class TestChoice:
    @pytest.mark.parametrize(
        ("spec", "kind"),
        [
            ("rtsp://h/1", CameraSource),
            ("RTSP://h/1", CameraSource),
            ("http://h/1", CameraSource),
            ("0", CameraSource),
            ("/dev/video2", CameraSource),
            ("./0", VideoSource),
            (Path("0"), VideoSource),
            ("clip.mp4", VideoSource),
            (Path("/dev/video2"), CameraSource),
        ],
    )
    def test_by_name(self, spec: str | Path, kind: type) -> None:
        assert type(open_source(spec)) is kind

    def test_folder(self, tmp_path: Path) -> None:
        assert type(open_source(str(tmp_path))) is FolderSource

    def test_unknown_scheme(self) -> None:
        with pytest.raises(UsageError) as caught:
            open_source("ftp://me:secret@h/x.avi")
        assert "secret" not in str(caught.value)

    def test_link_to_a_character_device_is_a_device(self, tmp_path: Path) -> None:
        link = tmp_path / "camera"
        link.symlink_to("/dev/null")
        assert is_device(link)
        with pytest.raises(UnavailableError, match="no such video device"):
            open_source(link).__enter__()


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("rtsp://u:p@h:554/a?b=1", "rtsp://***@h:554/a?b=1"),
            ("rtsp://u:p%40ss@h/a", "rtsp://***@h/a"),
            ("rtsp://u:p@ss@h/a", "rtsp://***@h/a"),
            ("rtsp://u:p/ss@h/a", "rtsp://***@h/a"),
            ("rtsp://u:p?s#s@h/a", "rtsp://***@h/a"),
            ("rtsp://u:12/34@h/a", "rtsp://***@h/a"),
            ("rtsp://u:p@ss/w@h/a", "rtsp://***@h/a"),
            ("rtsp://u:forgot/a", "rtsp://***/a"),
            ("rtsp://[fe80::1]:554/a@b", "rtsp://[fe80::1]:554/a@b"),
            ("rtsp://u@h/a", "rtsp://***@h/a"),
            ("rtsp://u:p@[fe80::1]:554/a", "rtsp://***@[fe80::1]:554/a"),
            ("http://h/mail@x", "http://h/mail@x"),
            ("http://h:80/s?user=a&pwd=b&channel=2", "http://h:80/s?user=***&pwd=***&channel=2"),
            ("rtsp://h/user=admin&password=x&channel=1.sdp", "rtsp://h/user=***&password=***&channel=1.sdp"),
            ("tried http://a:b@h/1 and http://c:d@h/2", "tried http://***@h/1 and http://***@h/2"),
            ("no address at all, a@b", "no address at all, a@b"),
        ],
    )  # fmt: skip
    def test_hides_credentials_and_nothing_else(self, text: str, shown: str) -> None:
        assert redact(text) == shown

    def test_address_with_a_space_in_its_password(self) -> None:
        assert CameraSource("rtsp://u:p ss@h/a").name == "rtsp://***@h/a"

    def test_known_credentials_are_hidden_alone_and_decoded(self) -> None:
        url = "rtsp://admin:s%40crt%2F1@h/1"
        message = f"401 for admin with s@crt/1 (s%40crt%2F1) at {url}"
        hidden = redact_known(message, url)
        for secret in ("admin", "s@crt/1", "s%40crt", "crt"):
            assert secret not in hidden


class MjpegHandler(http.server.BaseHTTPRequestHandler):
    """Three JPEG parts for whoever logs in as viewer / p@ss:w/rd, then the end."""

    def do_GET(self) -> None:
        expected = base64.b64encode(b"viewer:p@ss:w/rd").decode()
        if self.headers["Authorization"] != f"Basic {expected}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
        self.end_headers()
        for level in (40, 120, 200):
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mjpeg_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), MjpegHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


class TestLoopback:
    def test_stream_with_percent_encoded_password(self, mjpeg_port: int) -> None:
        url = f"http://viewer:p%40ss%3Aw%2Frd@127.0.0.1:{mjpeg_port}/video.mjpg"
        frames = []
        with (
            open_source(url) as source,
            pytest.raises(TemporaryError, match="stopped delivering") as caught,
        ):
            frames.extend(source)
        assert [round(float(frame.bgr.mean()), -1) for frame in frames] == [40, 120, 200]
        assert caught.value.where == source.name == f"http://***@127.0.0.1:{mjpeg_port}/video.mjpg"

    @pytest.mark.parametrize("scheme", ["http", "rtsp"])
    def test_refused_login_leaves_no_trace_of_the_password(
        self, mjpeg_port: int, scheme: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        url = f"{scheme}://viewer:wr%40ngword@127.0.0.1:{mjpeg_port}/x"
        with pytest.raises(UnavailableError) as caught:
            open_source(url).__enter__()
        written = "".join(capfd.readouterr())
        for secret in ("wr%40ngword", "wr@ngword", "viewer"):
            assert secret not in str(caught.value)
            assert secret not in written
