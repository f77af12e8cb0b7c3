"""Clips go whole into one part each; very few clips are cut in time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.clips import MemoryClip, MemorySource

from engines.errors import DataError
from trainer.clip_split import ClipSection, count_frames, split_clips


def clips(n: int, length: int = 4) -> list[MemoryClip]:
    return [
        MemoryClip(name=f"c{i:02d}", length=length, width=40, height=40, seed=i) for i in range(n)
    ]


@pytest.mark.parametrize(
    ("count", "sizes"), [(4, (2, 1, 1)), (5, (3, 1, 1)), (16, (11, 2, 3)), (100, (65, 15, 20))]
)
def test_clips_are_whole_and_in_one_part_only(count: int, sizes: tuple[int, int, int]) -> None:
    footage = clips(count)
    split = split_clips(footage, held_out=0.15, threshold=0.2, seed=0)
    assert split.kind == "clips"
    assert (len(split.fit), len(split.held_out), len(split.threshold)) == sizes
    names = [name for part in split.names().values() for name in part]
    assert sorted(names) == [clip.name for clip in footage]
    assert all(part == sorted(part) for part in split.names().values())


@pytest.mark.parametrize("count", range(4, 20))
@pytest.mark.parametrize(("held_out", "threshold"), [(0.44, 0.45), (0.85, 0.04), (0.04, 0.85)])
def test_large_shares_leave_a_clip_to_train_on(
    count: int, held_out: float, threshold: float
) -> None:
    split = split_clips(clips(count), held_out=held_out, threshold=threshold, seed=0)
    assert min(map(len, (split.fit, split.held_out, split.threshold))) >= 1
    assert sum(map(len, split.names().values())) == count


def test_the_seed_decides_the_draw() -> None:
    draws = [
        split_clips(clips(16), held_out=0.15, threshold=0.2, seed=seed).names()
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_a_single_clip_is_cut_in_time() -> None:
    split = split_clips(clips(1, length=400), held_out=0.15, threshold=0.2, seed=0)
    assert split.kind == "sections"
    assert split.names() == {
        "fit": ["c00[0:87]", "c00[87:173]", "c00[173:260]"],
        "held_out": ["c00[260:320]"],
        "threshold": ["c00[320:400]"],
    }


def test_sections_are_clips_that_start_at_zero_and_share_no_frame() -> None:
    whole = clips(1, length=400)[0]
    split = split_clips([whole], held_out=0.15, threshold=0.2, seed=0)
    pictures = []
    for section in (*split.fit, *split.held_out, *split.threshold):
        assert section.fps == whole.fps
        with section.open() as source:
            assert not source.live
            assert source.fps == whole.fps
            frames = list(source)
            assert source.frame_count == len(frames) == count_frames(section)
        assert [f.index for f in frames] == list(range(len(frames)))
        assert [f.time_s for f in frames] == pytest.approx([i / 10.0 for i in range(len(frames))])
        pictures += [frame.bgr for frame in frames]
    assert len(pictures) == 400
    assert all(a is b.bgr for a, b in zip(pictures, whole.frames, strict=True))


def test_two_clips_give_sections_of_both() -> None:
    split = split_clips(clips(2, length=300), held_out=0.15, threshold=0.2, seed=0)
    assert [len(part) for part in split.names().values()] == [6, 2, 2]


def test_a_clip_too_short_to_cut_trains_only() -> None:
    footage = [*clips(1, length=300), MemoryClip(name="short", length=50, width=40, height=40)]
    split = split_clips(footage, held_out=0.15, threshold=0.2, seed=0)
    assert split.names()["fit"] == ["c00[0:65]", "c00[65:130]", "c00[130:195]", "short"]
    assert len(split.held_out) == len(split.threshold) == 1


def test_too_little_footage_says_how_much_is_wanted() -> None:
    with pytest.raises(DataError, match="1 normal clip") as caught:
        split_clips(clips(1, length=100), held_out=0.15, threshold=0.2, seed=0)
    assert "133 frames" in caught.value.what


@dataclass
class Unknown(MemorySource):
    @property
    def frame_count(self) -> int | None:
        return None


def test_a_length_that_is_not_known_is_counted() -> None:
    class Stream(MemoryClip):
        def open(self) -> Unknown:
            return Unknown(self.frames, self.name, self.fps)

    assert count_frames(Stream(length=7, width=40, height=40)) == 7


def test_frames_that_were_skipped_keep_their_numbers() -> None:
    whole = clips(1, length=20)[0]
    del whole.frames[12]
    with ClipSection(whole, 10, 15).open() as source:
        assert [frame.index for frame in source] == [0, 1, 3, 4]
