"""Recordings that are not read from their beginning give the frames that reading them all gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support.clips import MemoryClip

from edge.capture.source import Searchable, Source, open_source
from edge.capture.video import VideoSource
from edge.frames import Frame
from trainer.clip_split import ClipSection

COUNT = 420
BITS = 9


def picture(number: int) -> np.ndarray:
    """The frame's number as black and white blocks, which survive every codec."""
    image = np.full((96, 160, 3), 60, np.uint8)
    for bit in range(BITS):
        image[20:60, 4 + 16 * bit : 16 + 16 * bit] = 230 if number >> bit & 1 else 20
    return image


def number(frame: Frame) -> int:
    blocks = (frame.bgr[30:50, 8 + 16 * bit : 12 + 16 * bit].mean() for bit in range(BITS))
    return sum((value > 128) << bit for bit, value in enumerate(blocks))


def write(path: Path, codec: str, options: dict[str, str]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), "bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b_frames.mp4", "libx264", {"bf": "3", "g": "100"}),
        ("b_frames.mkv", "libx264", {"bf": "3", "g": "100"}),
        ("camera.ts", "libx264", {"bf": "0", "g": "50"}),
        ("old.avi", "mpeg4", {"g": "100"}),
    ],
)
def test_a_video_is_searched_to_the_frame(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / name, codec, options)
    for first in (0, 7, 99, 100, 101, 237, COUNT - 1):
        with open_source(path) as source:
            assert isinstance(source, Searchable)
            source.skip_to(first)
            frames = [frame for _, frame in zip(range(3), source, strict=False)]
        assert [number(frame) for frame in frames] == [frame.index for frame in frames]
        assert frames[0].index == first
        assert frames[0].time_s == pytest.approx(first / 25)


def test_a_video_that_comes_out_elsewhere_is_passed_frame_by_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "lame.avi", "mpeg4", {"g": "100"})
    asked: list[int] = []

    class Lame:
        """A capture that says where it is and is never where it should be."""

        def __init__(self, capture: cv2.VideoCapture) -> None:
            self._capture = capture

        def set(self, prop: int, value: float) -> bool:
            asked.append(int(value))
            return bool(self._capture.set(prop, value - 3))

        def __getattr__(self, name: str) -> object:
            return getattr(self._capture, name)

    opened = VideoSource.__enter__

    def enter(self: VideoSource) -> VideoSource:
        opened(self)
        self._capture = Lame(self._capture)  # type: ignore[assignment,arg-type]
        return self

    monkeypatch.setattr(VideoSource, "__enter__", enter)
    with VideoSource(path) as source:
        source.skip_to(300)
        frame = next(iter(source))
    assert asked == [300]
    assert (frame.index, number(frame)) == (300, 300)


def test_beyond_the_end_there_are_no_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "short.mp4", "libx264", {"g": "100"})
    with VideoSource(path) as source:
        source.skip_to(COUNT + 200)
        assert list(source) == []


def test_a_folder_is_searched_and_starts_anew_when_entered_again(tmp_path: Path) -> None:
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index))
    source = open_source(tmp_path)
    assert isinstance(source, Searchable)
    with source:
        source.skip_to(4)
        assert [(frame.index, number(frame)) for frame in source] == [(4, 4), (5, 5)]
    with source:
        assert [frame.index for frame in source] == list(range(6))


def test_a_section_reads_nothing_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "day.mp4", "libx264", {"g": "100"})
    read: list[int] = []

    class Watched(VideoSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                read.append(frame.index)
                yield frame

    class Clip:
        name, fps = "day", 25.0

        def open(self) -> Source:
            return Watched(path)

    with ClipSection(Clip(), 250, 260).open() as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    assert [number(frame) for frame in frames] == list(range(250, 260))
    assert read[0] == 250
    whole = MemoryClip(length=20)
    with ClipSection(whole, 10, 12).open() as source:  # not searchable: passed by
        assert [frame.index for frame in source] == [0, 1]
