"""Parts of the capture process: shared pictures, stillness, multipart streams, addresses."""

from __future__ import annotations

import gc
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture import frame_ring
from edge.capture.frame_ring import MAX_PIXELS, FrameMeta, FrameRing
from edge.capture.gstreamer import csi_pipeline
from edge.capture.live import LiveCamera, enter_source
from edge.capture.multipart import MAX_HEAD, MAX_PART, MultipartReader, boundary_of
from edge.capture.picture_health import PictureHealth
from edge.capture.source import is_live_address
from engines.errors import DataError, UnavailableError, UsageError

WRITE_WITHOUT_END = """
import sys
import numpy as np
from edge.capture import frame_ring
from edge.capture.frame_ring import FrameMeta, FrameRing
frame_ring._KEEPS_ORDER = sys.argv[2] == "True"
ring, number = FrameRing(int(sys.argv[1])), 0
while True:
    number += 1
    picture = np.full((300, 300, 3), number % 251, np.uint8)
    ring.write(picture, FrameMeta(number, 0.0, 0.0, 300, 300))
"""


class TestFrameRing:
    def test_the_newest_picture_comes_back_with_its_facts(self) -> None:
        ring = FrameRing.create()
        assert ring.newest() is None
        rng = np.random.default_rng(0)
        for number, (height, width) in enumerate([(4, 6), (7, 5), (30, 40), (3, 3)], start=1):
            picture = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            meta = FrameMeta(number, 1.5, 2.5, width, height, 0.25, 3, 99.5, 12.25, 4, 2.5)
            ring.write(picture, meta)
            seen = ring.newest()
            assert seen is not None
            assert seen[0] == meta == ring.peek()
            np.testing.assert_array_equal(seen[1], picture)
        del seen
        ring.close()

    def test_a_picture_beyond_all_bounds_is_refused(self) -> None:
        ring = FrameRing.create()
        huge = np.broadcast_to(np.zeros(3, np.uint8), (1, MAX_PIXELS + 1, 3))
        with pytest.raises(DataError, match="larger than"):
            ring.write(huge, FrameMeta(1, 0, 0, MAX_PIXELS + 1, 1))
        assert ring.newest() is None
        ring.close()

    @pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 9), (2**32 - 1, 2**32 - 1)])
    def test_a_writer_that_was_taken_over_cannot_make_the_reader_read_beyond(
        self, width: int, height: int
    ) -> None:
        ring = FrameRing.create()
        ring.write(np.zeros((4, 5, 3), np.uint8), FrameMeta(1, 0, 0, 5, 4))
        assert ring.newest() is not None
        sides = struct.pack("<II", 5, 4)
        at = ring._map.find(sides)
        ring._map[at : at + len(sides)] = struct.pack("<II", width, height)
        assert ring.newest() is None
        ring.close()

    @pytest.mark.parametrize("keeps_order", [True, False])
    def test_a_reader_never_sees_a_torn_picture(
        self, keeps_order: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(frame_ring, "_KEEPS_ORDER", keeps_order)
        ring = FrameRing.create()
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE_WITHOUT_END, str(ring.descriptor), str(keeps_order)],
            pass_fds=(ring.descriptor,),
        )
        numbers = set()
        until = time.monotonic() + 10.0
        while len(numbers) < 200 and time.monotonic() < until:
            seen = ring.newest()
            if seen is not None:
                assert (seen[1] == seen[0].number % 251).all()
                numbers.add(seen[0].number)
        writer.kill()
        writer.wait()
        assert len(numbers) >= 200
        del seen
        gc.collect()
        ring.close()


class TestPictureHealth:
    def test_a_still_picture_is_still_and_a_changed_one_is_not(self) -> None:
        health = PictureHealth()
        picture = np.random.default_rng(0).integers(0, 255, (360, 640, 3), dtype=np.uint8)
        assert health.update(picture, 10.0).still_s == 0.0
        look = health.update(picture.copy(), 12.0)
        assert (look.still_s, look.changes) == (2.0, 0)
        picture[100:140, 200:240] = 255
        look = health.update(picture, 13.0)
        assert (look.still_s, look.changes) == (0.0, 1)
        assert health.update(picture, 14.5).still_s == 1.5

    def test_a_clock_in_the_picture_does_not_hide_that_it_stands_still(self) -> None:
        plain, masked = PictureHealth(), PictureHealth([[(0, 0), (0.5, 0), (0.5, 0.1), (0, 0.1)]])
        for second in range(5):
            picture = np.full((360, 640, 3), 90, np.uint8)
            cv2.putText(picture, f"12:00:0{second}", (4, 26), 0, 0.9, (255, 255, 255), 2)
            without, with_mask = plain.update(picture, second), masked.update(picture, second)
        assert without.changes == 4
        assert (with_mask.changes, with_mask.still_s) == (0, 4.0)

    def test_brightness(self) -> None:
        look = PictureHealth().update(np.full((90, 160, 3), 5, np.uint8), 0.0)
        assert (look.luma_mean, look.luma_sd) == (5.0, 0.0)


PARTS = [b"\xff\xd8one\xff\xd9", b"\xff\xd8" + b"2" * 3000 + b"\xff\xd9", b"\xff\xd83\xff\xd9"]


def stream(*, length: bool, end: bytes = b"\r\n") -> bytes:
    text = b""
    for part in PARTS:
        head = b"--cam" + end + b"Content-Type: image/jpeg" + end
        head += b"content-length: %d" % len(part) + end if length else b""
        text += head + end + part + end
    return text + b"--cam--" + end


class TestMultipart:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("multipart/x-mixed-replace;boundary=frame", b"--frame"),
            ('Multipart/X-Mixed-Replace; boundary="--my.cam"; charset=x', b"--my.cam"),
            ("image/jpeg", None),
            ("multipart/x-mixed-replace", None),
            ("multipart/x-mixed-replace; boundary=--", None),
        ],
    )
    def test_boundary(self, kind: str, expected: bytes | None) -> None:
        assert boundary_of(kind) == expected

    @given(
        st.booleans(),
        st.sampled_from([b"\r\n", b"\n"]),
        st.lists(st.integers(1, 400), min_size=1, max_size=40),
    )
    def test_parts_come_whole_however_the_bytes_are_cut(
        self, length: bool, end: bytes, cuts: list[int]
    ) -> None:
        data, reader, parts = stream(length=length, end=end), MultipartReader(b"--cam"), []
        position = turn = 0
        while position < len(data):
            step = cuts[turn % len(cuts)]
            parts += reader.feed(data[position : position + step])
            position, turn = position + step, turn + 1
        assert [part.rstrip(b"\r\n") for part in parts] == PARTS

    def test_after_garbage_the_next_part_is_found(self) -> None:
        reader = MultipartReader(b"--cam")
        garbage = bytes(np.random.default_rng(1).integers(0, 256, 100_000, dtype=np.uint8))
        parts = reader.feed(garbage + stream(length=True))
        assert parts[-3:] == PARTS

    @given(st.lists(st.binary(max_size=300) | st.just(b"--cam") | st.just(b"\r\n\r\n")))
    def test_no_bytes_break_it(self, pieces: list[bytes]) -> None:
        reader = MultipartReader(b"--cam")
        for piece in pieces:
            reader.feed(piece)

    def test_memory_is_bounded_against_endless_heads_bodies_and_lies(self) -> None:
        block = b"x" * 2**20
        for begin in (
            b"",
            b"--cam",
            b"--cam\r\n\r\n",
            b"--cam\r\nContent-Length: 999999999\r\n\r\n",
        ):
            reader = MultipartReader(b"--cam")
            reader.feed(begin)
            for _ in range(40):
                reader.feed(block)
                assert len(reader._buffer) <= MAX_PART + len(block) + MAX_HEAD
            assert reader.feed(b"\r\n" + stream(length=True))[-3:] == PARTS


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("rtsp://h/1", True),
        ("http://h/1", True),
        ("csi://0", True),
        ("gst:videotestsrc", True),
        ("0", True),
        ("/dev/video0", True),
        ("clip.mp4", False),
        ("file:///clip.mp4", False),
        ("folder", False),
    ],
)
def test_what_is_a_camera_and_what_a_recording(spec: str, expected: bool) -> None:
    assert is_live_address(spec) is expected


def test_csi_addresses() -> None:
    assert csi_pipeline("csi://1").startswith("nvarguscamerasrc sensor-id=1 ! ")
    assert "width=1280,height=720,framerate=15/1" in csi_pipeline(
        "csi://0?width=1280&height=720&fps=15"
    )
    with pytest.raises(UsageError, match="CSI"):
        csi_pipeline("csi://front")


def test_without_gstreamer_its_cameras_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for address in ("csi://0", "gst:videotestsrc"):
        with pytest.raises(UnavailableError) as caught:
            enter_source(LiveCamera(address))
        assert "there is no gst-launch-1.0" in str(caught.value)
        assert "gstreamer1.0-tools" in str(caught.value.mend)


def test_without_what_ends_a_pipeline_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gst-launch-1.0").write_text("#!/bin/sh\ntouch started\n")
    (tmp_path / "gst-launch-1.0").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError, match="there is no setpriv") as caught:
        enter_source(LiveCamera("gst:videotestsrc"))
    assert "util-linux" in str(caught.value.mend)
    assert not (tmp_path / "started").exists()


def test_a_cameras_order_travels_whole_and_its_name_holds_no_login() -> None:
    camera = LiveCamera("rtsp://u:secret@h/1", 12.5, (((0.0, 0.0), (1.0, 0.0), (1.0, 0.5)),))
    assert LiveCamera.from_json(json.dumps(json.loads(camera.to_json())).encode()) == camera
    assert camera.name == "rtsp://***@h/1"
