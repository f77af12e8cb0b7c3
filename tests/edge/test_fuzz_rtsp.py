"""An RTSP camera that is hostile or broken: whatever it sends is a clear error, soon."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.ffmpeg import FfmpegSource
from engines.errors import VigilError

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
    b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    b"a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IACpZUBQHogA==,aM44gA==\r\n"
    b"a=control:track1\r\n"
)
CASE_S = 20.0


class HostileCamera:
    """Answers each request with the next of its answers; `%d` in one becomes the request's number.

    After the last answer it sends what is left and closes.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.answers: list[bytes] = []
        self.asked = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(2.0)
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        for answer in self.answers:
            request = b""
            while b"\r\n\r\n" not in request:
                data = connection.recv(4096)
                if not data:
                    return
                request += data
            self.asked += 1
            number = request.partition(b"CSeq: ")[2].partition(b"\r\n")[0]
            connection.sendall(answer.replace(b"%d", number))


@pytest.fixture(scope="module")
def camera() -> Iterator[HostileCamera]:
    one = HostileCamera()
    yield one
    one.close()


def ok(head: bytes = b"", body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n" + head + length + b"\r\n" + body


def handshake(sdp: bytes = SDP, media: bytes = b"") -> list[bytes]:
    """What a camera says until pictures flow, and `media` behind it."""
    transport = b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
    return [
        ok(b"Public: DESCRIBE, SETUP, PLAY\r\n"),
        ok(b"Content-Type: application/sdp\r\n", sdp),
        ok(transport),
        ok(b"Session: 1\r\n") + media,
    ]


def rtp(payload: bytes) -> bytes:
    packet = b"\x80\xe0\0\1\0\0\0\1\0\0\0\1" + payload
    return b"$\0" + len(packet).to_bytes(2, "big") + packet


def watch(camera: HostileCamera, answers: list[bytes]) -> str:
    """What becomes of it: the words of a clear error, and nothing else, in time."""
    camera.answers = answers
    begin = time.monotonic()
    source = FfmpegSource(f"rtsp://viewer:hunter2@127.0.0.1:{camera.port}/cam")
    with pytest.raises(VigilError) as caught, source as opened:
        for _ in opened:
            pass
    assert time.monotonic() - begin < CASE_S
    assert "hunter2" not in str(caught.value)
    return caught.value.what


def test_the_camera_of_these_tests_is_believed_up_to_its_pictures(camera: HostileCamera) -> None:
    """Otherwise the cases below would all end at the first answer."""
    camera.asked = 0
    assert watch(camera, handshake(media=rtp(b"\x65garbage") * 3))
    assert camera.asked == 4


chunks = st.one_of(
    st.binary(max_size=200),
    st.binary(min_size=1, max_size=60).map(rtp),
    st.sampled_from([b"$\0\xff\xff", b"$\x07\0\1x", b"RTSP/1.0 999 \r\n\r\n", b"\0" * 4096]),
)


@settings(max_examples=25, deadline=None)
@given(media=st.lists(chunks, max_size=8))
def test_any_bytes_in_place_of_pictures(camera: HostileCamera, media: list[bytes]) -> None:
    watch(camera, handshake(media=b"".join(media)))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bytes_anywhere_in_the_handshake(camera: HostileCamera, data: st.DataObject) -> None:
    answers = handshake()
    place = data.draw(st.integers(0, len(answers) - 1))
    whole = answers[place]
    cut = data.draw(st.integers(0, len(whole)))
    answers[place] = whole[:cut] + data.draw(st.binary(max_size=80)) + whole[cut:]
    watch(camera, answers)


@pytest.mark.parametrize(
    "sdp",
    [
        b"",
        b"m=audio 0 RTP/AVP 0\r\n",
        SDP.replace(b"96 H264/90000", b"96 H264/0"),
        SDP.replace(b"H264", b"\xff\xfe" * 40),
        SDP.replace(b"a=control:track1", b"a=control:" + b"../" * 2000),
        SDP + b"m=video 0 RTP/AVP 96\r\n" * 300,
        SDP.replace(b"Z0IACpZUBQHogA==", b"A" * 20_000),
    ],
)
def test_descriptions_that_lie(camera: HostileCamera, sdp: bytes) -> None:
    watch(camera, handshake(sdp))


def test_a_length_that_lies_costs_no_memory(camera: HostileCamera) -> None:
    before = psutil.Process().memory_info().rss
    lie = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nContent-Length: 2000000000\r\n\r\n"
    for place in range(2):
        watch(camera, [*handshake()[:place], lie])
    assert psutil.Process().memory_info().rss - before < 64 * 2**20
