"""Folders and videos as sources: order, clock, counts, and each kind of damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.capture.folder import FolderSource
from edge.capture.images import bgr8_from_array, natural_key, read_image
from edge.capture.source import open_source
from edge.capture.video import VideoSource, read_video_header
from edge.frames import Frame
from engines.errors import DataError, InputMissingError, UsageError

Picture = NDArray[np.uint8]


def numbered(index: int, size: tuple[int, int] = (48, 64)) -> Picture:
    """A grey picture that tells its number: every pixel is 10 + 5 * index."""
    return np.full(size, 10 + 5 * index, np.uint8)


def write_frames(folder: Path, count: int, pattern: str = "{:03d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / pattern.format(index)), numbered(index))
    return folder


def write_video(path: Path, count: int, fps: float = 12.5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for index in range(count):
        writer.write(cv2.cvtColor(numbered(index), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def numbers(frames: list[Frame]) -> list[int]:
    return [round((float(frame.bgr.mean()) - 10) / 5) for frame in frames]


class TestFolder:
    def test_gives_every_picture_with_its_index_and_time(self, tmp_path: Path) -> None:
        with open_source(write_frames(tmp_path / "clip", 5)) as source:
            assert (source.frame_count, source.fps, source.live) == (5, 10.0, False)
            frames = list(source)
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
        assert numbers(frames) == [0, 1, 2, 3, 4]
        assert all(frame.captured_at is None for frame in frames)

    def test_given_rate_sets_the_clock(self, tmp_path: Path) -> None:
        with open_source(write_frames(tmp_path / "clip", 3), fps=4) as source:
            assert [frame.time_s for frame in source] == [0.0, 0.25, 0.5]

    def test_orders_numbers_as_numbers(self, tmp_path: Path) -> None:
        with open_source(write_frames(tmp_path / "clip", 12, "frame_{}.png")) as source:
            assert numbers(list(source)) == list(range(12))

    def test_ignores_hidden_files_and_other_types(self, tmp_path: Path) -> None:
        folder = write_frames(tmp_path / "clip", 3)
        for name in ("._001.png", ".hidden.png", ".DS_Store", "Thumbs.db", "notes.txt"):
            (folder / name).write_bytes(b"not a picture")
        (folder / "004.png").mkdir()
        with open_source(folder) as source:
            assert len(list(source)) == 3
            assert source.skipped == 0

    def test_constructing_checks_nothing_and_entering_raises(self, tmp_path: Path) -> None:
        source = open_source(tmp_path / "absent")
        with pytest.raises(InputMissingError, match="does not exist"):
            source.__enter__()

    def test_missing_folder_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(InputMissingError, match="does not exist"):
            FolderSource(tmp_path / "absent").__enter__()

    @pytest.mark.parametrize("extra", [None, "notes.txt", "._001.png"])
    def test_folder_without_pictures(self, tmp_path: Path, extra: str | None) -> None:
        if extra:
            (tmp_path / extra).write_text("x")
        with pytest.raises(InputMissingError, match="holds no pictures") as caught:
            open_source(tmp_path).__enter__()
        assert caught.value.where == str(tmp_path)

    def test_unreadable_picture_is_left_out_and_counted(self, tmp_path: Path) -> None:
        folder = write_frames(tmp_path / "clip", 5)
        (folder / "002.png").write_bytes(b"damaged")
        with open_source(folder) as source:
            frames = list(source)
            assert source.skipped == 1
            assert source.frame_count == 5
        assert [frame.index for frame in frames] == [0, 1, 3, 4]
        assert frames[2].time_s == pytest.approx(0.3)

    @pytest.mark.parametrize(
        ("damaged", "expected"),
        [({2}, [0, 1, 1, 3, 4]), ({2, 3}, [0, 1, 1, 1, 4]), ({0, 1}, [2, 2, 2, 3, 4])],
    )
    def test_unreadable_pictures_are_repeated_on_request(
        self, tmp_path: Path, damaged: set[int], expected: list[int]
    ) -> None:
        folder = write_frames(tmp_path / "clip", 5)
        for index in damaged:
            (folder / f"{index:03d}.png").write_bytes(b"")
        with FolderSource(folder, repeat_unreadable=True) as source:
            frames = list(source)
            assert source.skipped == len(damaged)
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert numbers(frames) == expected

    @pytest.mark.parametrize("repeat", [False, True])
    def test_no_picture_readable(self, tmp_path: Path, repeat: bool) -> None:
        folder = write_frames(tmp_path / "clip", 2)
        for path in folder.iterdir():
            path.write_bytes(b"damaged")
        with (
            FolderSource(folder, repeat_unreadable=repeat) as source,
            pytest.raises(DataError, match="None of the 2 pictures"),
        ):
            list(source)

    def test_mixed_sizes_name_both_files_and_sizes(self, tmp_path: Path) -> None:
        folder = write_frames(tmp_path / "clip", 3)
        cv2.imwrite(str(folder / "002.png"), numbered(2, (50, 70)))
        with open_source(folder) as source, pytest.raises(DataError) as caught:
            list(source)
        assert "000.png is 64x48" in caught.value.what
        assert "002.png is 70x50" in caught.value.what

    def test_two_pictures_of_one_number(self, tmp_path: Path) -> None:
        folder = write_frames(tmp_path / "clip", 3)
        cv2.imwrite(str(folder / "001.bmp"), numbered(1))
        with pytest.raises(DataError, match=r"001\.\w+ and 001\.\w+"):
            open_source(folder).__enter__()

    def test_can_be_entered_again(self, tmp_path: Path) -> None:
        folder = write_frames(tmp_path / "clip", 3)
        (folder / "001.png").write_bytes(b"")
        source = open_source(folder)
        for _ in range(2):
            with source:
                assert len(list(source)) == 2
                assert source.skipped == 1


class TestPictures:
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".pgm"])
    def test_cut_files_are_unreadable_at_any_length(self, tmp_path: Path, suffix: str) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
        path = tmp_path / f"picture{suffix}"
        cv2.imwrite(str(path), noise)
        whole = path.read_bytes()
        picture = read_image(path)
        assert picture is not None
        assert picture.shape == (60, 80, 3)
        for share in (0.95, 0.5, 0.05, 0.0):
            path.write_bytes(whole[: int(len(whole) * share)])
            assert read_image(path) is None, f"{suffix} cut to {share}"

    def test_grey_gets_three_equal_channels(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "g.png"), np.arange(48, dtype=np.uint8).reshape(6, 8))
        picture = read_image(tmp_path / "g.png")
        assert picture is not None
        assert np.array_equal(picture, np.dstack([np.arange(48).reshape(6, 8)] * 3))

    def test_sixteen_bit_is_scaled_over_its_full_range(self, tmp_path: Path) -> None:
        levels = np.array([[0, 257, 32896, 65535]], np.uint16)
        cv2.imwrite(str(tmp_path / "deep.png"), levels)
        picture = read_image(tmp_path / "deep.png")
        assert picture is not None
        assert picture[0, :, 0].tolist() == [0, 1, 128, 255]

    def test_colour_order_is_blue_green_red(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "c.png"), np.full((4, 4, 3), (1, 2, 3), np.uint8))
        picture = read_image(tmp_path / "c.png")
        assert picture is not None
        assert picture[0, 0].tolist() == [1, 2, 3]

    def test_alpha_is_dropped(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 4), (1, 2, 3, 4), np.uint8))
        picture = read_image(tmp_path / "a.png")
        assert picture is not None
        assert picture.shape == (4, 4, 3)

    def test_other_pixel_types_are_refused(self) -> None:
        with pytest.raises(DataError, match="float32"):
            bgr8_from_array(np.zeros((4, 4), np.float32), where="x.tif")
        with pytest.raises(DataError, match="2 channels"):
            bgr8_from_array(np.zeros((4, 4, 2), np.uint8), where="x.tif")

    def test_natural_order(self) -> None:
        names = ["10", "2", "a10b2", "a10b10", "a9", "A1", "01", "1"]
        assert sorted(names, key=natural_key) == [
            "01", "1", "2", "10", "A1", "a9", "a10b2", "a10b10",
        ]  # fmt: skip


class TestVideo:
    def test_gives_every_frame_at_the_header_s_rate(self, tmp_path: Path) -> None:
        with open_source(write_video(tmp_path / "v.avi", 20)) as source:
            assert (source.frame_count, source.fps, source.live) == (20, 12.5, False)
            frames = list(source)
            assert source.skipped == 0
        assert numbers(frames) == list(range(20))
        assert [frame.time_s for frame in frames] == pytest.approx([i / 12.5 for i in range(20)])

    def test_given_rate_wins(self, tmp_path: Path) -> None:
        with open_source(write_video(tmp_path / "v.avi", 3), fps=30) as source:
            assert source.fps == 30
            assert [frame.time_s for frame in source] == pytest.approx([0, 1 / 30, 2 / 30])

    def test_accepts_file_urls_and_odd_names(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.avi", 3).rename(tmp_path / "50% über [1].avi")
        url = f"file://{tmp_path}/50%25%20%C3%BCber%20[1].avi"
        with open_source(url) as source:
            assert len(list(source)) == 3

    def test_header(self, tmp_path: Path) -> None:
        header = read_video_header(write_video(tmp_path / "v.avi", 7))
        assert (header.fps, header.frame_count) == (12.5, 7)
        assert (header.width, header.height) == (64, 48)

    def test_truncated_video_gives_what_is_there_and_counts_the_rest(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "v.avi", 40)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * 0.6)])
        with open_source(path) as source:
            frames = list(source)
            assert source.frame_count == 40
            assert source.skipped == 40 - len(frames)
        assert 10 < len(frames) < 40
        assert numbers(frames) == list(range(len(frames)))

    @pytest.mark.parametrize("content", [b"", b"this is text", b"RIFF\0\0\0\0AVI LIST"])
    def test_file_that_is_no_video(
        self, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "v.avi"
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be opened as a video") as caught:
            open_source(path).__enter__()
        assert caught.value.where == str(path)
        assert "OpenCV" not in capfd.readouterr().err

    def test_video_without_a_decodable_frame(self) -> None:
        source = VideoSource(Path("v.avi"))
        source._capture = _Undecodable()
        with pytest.raises(DataError, match="No frame of the video can be decoded"):
            list(source)

    def test_change_of_size_on_the_way(self) -> None:
        source = VideoSource(Path("v.avi"))
        source._capture = _Undecodable(numbered(0), numbered(1), numbered(2, (24, 32)))
        with pytest.raises(DataError, match="from 64x48 to 32x24 at frame 2"):
            list(source)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputMissingError):
            open_source(str(tmp_path / "absent.mp4")).__enter__()

    def test_single_picture_is_no_source(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "p.jpg"), numbered(0))
        with pytest.raises(UsageError, match="single picture"):
            open_source(tmp_path / "p.jpg").__enter__()

    def test_iterating_without_entering_is_a_mistake_of_the_program(self) -> None:
        with pytest.raises(RuntimeError, match="with"):
            list(VideoSource(Path("v.avi")))


class _Undecodable:
    """Gives the pictures it holds and then none; 90000 is a clock, not a rate."""

    def __init__(self, *pictures: Picture) -> None:
        self._pictures = list(pictures)

    def read(self) -> tuple[bool, Picture | None]:
        return (True, self._pictures.pop(0)) if self._pictures else (False, None)

    def get(self, prop: int, /) -> float:
        return {cv2.CAP_PROP_FPS: 90000.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}.get(prop, 0.0)

    def release(self) -> None:
        pass


def test_unbelievable_header_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.capture.video.open_capture", lambda *_: _Undecodable(numbered(0)))
    (tmp_path / "v.ts").write_bytes(b"x")
    with open_source(tmp_path / "v.ts") as source:
        assert (source.fps, source.frame_count) == (25.0, None)
        assert len(list(source)) == 1
        assert source.skipped == 0


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("make", [FolderSource, VideoSource])
def test_impossible_rates_are_refused(make: Callable[..., object], fps: float) -> None:
    with pytest.raises(UsageError, match="not a frame rate"):
        make(Path("x"), fps=fps)


@pytest.mark.footage
class TestFootage:
    def test_vtest_has_795_frames_at_10_per_second(self, footage: Path) -> None:
        with open_source(footage / "video" / "vtest_480x360.avi") as source:
            assert (source.fps, source.frame_count) == (10.0, 795)
            facts = [(frame.index, frame.time_s, frame.bgr.shape) for frame in source]
            assert source.skipped == 0
        assert len(facts) == 795
        assert facts[-1] == (794, pytest.approx(79.4), (360, 480, 3))

    def test_ped2_clip_is_grey_in_three_channels(self, footage: Path) -> None:
        with open_source(footage / "ucsd_ped2" / "Train" / "Train001") as source:
            frames = list(source)
            assert source.skipped == 0
        assert len(frames) == 120
        assert frames[0].bgr.shape == (240, 360, 3)
        assert np.array_equal(frames[0].bgr[:, :, 0], frames[0].bgr[:, :, 2])
