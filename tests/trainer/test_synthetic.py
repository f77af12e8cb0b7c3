"""Synthetic anomalies: cutouts of known movers, exact truth, geometry, and honest refusals."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path as FilePath

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.clips import MemorySource

from edge.frames import Frame
from engines.errors import DataError, UsageError
from trainer.clip_split import ClipSection
from trainer.datasets.clip import Clip
from trainer.synthetic import KINDS, SyntheticClip, SyntheticSet, make_synthetic_clips
from trainer.synthetic.background import median_background, moving_mask
from trainer.synthetic.cutouts import Harvest, harvest
from trainer.synthetic.movers import HeightLine, fit_height
from trainer.synthetic.sprite import LEAST_ALPHA, blend, make_sprite, place
from trainer.synthetic.stage import Paste, Path, Replay, edge_sigma

PASTED = ("fast", "object", "posture", "near", "slow_object", "rider")
# foot y, width and height in px, speed in px per second: farther ones are smaller and slower.
LANES = ((62, 8, 18, 13.0), (100, 10, 24, -17.0), (142, 12, 30, 21.0))


@dataclass
class LaneClip:
    """Textured blocks that slide along three lanes of a textured wall, one after the other."""

    name: str = "lanes"
    length: int = 120
    fps: float = 10.0
    lanes: tuple[tuple[int, int, int, float], ...] = LANES
    offset: int = 0
    size: tuple[int, int] = (160, 216)
    frames: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        width = self.size[1]
        noise = np.random.default_rng(self.offset)
        empty = wall(self.size)
        for i in range(self.length):
            picture = empty.astype(np.int16)
            for foot, wide, tall, speed in self.lanes:
                span = width + 2 * wide
                gone = (self.offset + abs(speed) * i / self.fps) % span
                left = round((gone if speed > 0 else span - gone) - wide)
                block = np.random.default_rng(foot).integers(180, 240, (tall, wide, 3))
                first, last = max(0, left), min(width, left + wide)
                if first < last:
                    picture[foot - tall : foot, first:last] = block[:, first - left : last - left]
            picture += noise.integers(-1, 2, picture.shape, np.int16)
            self.frames.append(Frame(i, i / self.fps, picture.clip(0, 255).astype(np.uint8)))

    def open(self) -> MemorySource:
        return MemorySource(self.frames, self.name, self.fps)


def wall(size: tuple[int, int]) -> NDArray[np.uint8]:
    grain = np.random.default_rng(99).integers(40, 130, (*size, 3)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(grain, (0, 0), 1.5), np.uint8)


@cache
def lane_clips() -> list[LaneClip]:
    return [LaneClip(name=f"lanes{i}", offset=60 * i) for i in range(3)]


@pytest.fixture(scope="module")
def crop() -> Harvest:
    return harvest(lane_clips())


@pytest.fixture(scope="module")
def made() -> SyntheticSet:
    return make_synthetic_clips(lane_clips(), per_kind=1, seed=3)


@pytest.fixture(scope="module")
def by_kind(made: SyntheticSet) -> dict[str, SyntheticClip]:
    return {clip.kind: clip for clip in made.clips}


def base_pictures(clip: SyntheticClip) -> list[NDArray[np.uint8]]:
    with clip.section.open() as source:
        return [frame.bgr for frame in source]


def composed(clip: SyntheticClip) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    return list(clip.composed())


class TestBackground:
    def test_is_the_wall_without_the_movers(self) -> None:
        background = median_background(LaneClip())
        assert background.dtype == np.uint8
        assert np.abs(background.astype(int) - wall((160, 216))).max() <= 2

    def test_takes_few_frames_of_a_long_clip(self) -> None:
        assert median_background(LaneClip(), pictures=7).shape == (160, 216, 3)

    def test_names_an_empty_clip(self) -> None:
        with pytest.raises(DataError, match="no frame"):
            median_background(LaneClip(length=0))

    def test_change_of_light_is_no_motion(self) -> None:
        background = wall((160, 216))
        assert not moving_mask((background + 30).astype(np.uint8), background).any()


class TestCutouts:
    def test_known_blocks_are_found_with_size_and_speed(self, crop: Harvest) -> None:
        for foot, wide, tall, speed in LANES:
            near = [c for c in crop.cutouts if abs(c.feet[0][1] - foot) <= 4]
            assert near, f"nothing found in the lane at {foot}"
            for cutout in near:
                clear = cutout.alphas[0] >= 0.5
                assert abs(cutout.height - tall) <= 2
                assert abs(int(clear.any(axis=0).sum()) - wide) <= 2
                assert cutout.velocity[0] == pytest.approx(speed, rel=0.1)
                assert abs(cutout.velocity[1]) < 1.0

    def test_statistics_follow_the_perspective(self, crop: Harvest) -> None:
        statistics = crop.statistics
        assert statistics.observed >= 9
        for foot, _, tall, speed in LANES:
            assert statistics.height.at(foot) == pytest.approx(tall, abs=2.5)
            assert statistics.speed_at(foot) == pytest.approx(abs(speed), rel=0.2)

    def test_what_touches_the_border_or_another_is_left(self) -> None:
        side_by_side = ((60, 10, 20, 15.0), (61, 10, 20, 15.0))
        assert harvest([LaneClip(lanes=side_by_side[:1])]).cutouts
        stuck = ((160, 10, 24, 15.0),)  # its foot is on the lower border
        assert not harvest([LaneClip(lanes=stuck)]).cutouts

    def test_sizes_must_agree(self) -> None:
        with pytest.raises(DataError, match="different sizes"):
            harvest([LaneClip(), LaneClip(size=(160, 200))])

    def test_height_is_a_line_only_where_that_is_known(self) -> None:
        y = np.linspace(40, 200, 30)
        line = fit_height(y, 0.2 * y + 5, 240)
        assert line.at(120) == pytest.approx(29, abs=0.5)
        assert line.at(-1000) >= 10
        outlier = 0.2 * y + 5
        outlier[::7] = 150
        assert fit_height(y, outlier, 240).at(120) == pytest.approx(29, abs=2)
        assert fit_height(y[:3], y[:3], 240).slope == 0.0
        assert fit_height(y, 60 - 0.2 * y, 240).slope == 0.0

    def test_blur_is_measured(self) -> None:
        steps = np.zeros((80, 80, 3), np.uint8)
        steps[:, 40:] = 200
        soft = np.asarray(cv2.GaussianBlur(steps, (0, 0), 1.5), np.uint8)
        assert edge_sigma(soft) == pytest.approx(1.5, abs=0.15)
        assert edge_sigma(steps) < 0.6


class TestTruth:
    @pytest.mark.parametrize("kind", PASTED)
    def test_mask_is_where_pixels_were_changed(
        self, by_kind: dict[str, SyntheticClip], kind: str
    ) -> None:
        clip = by_kind[kind]
        touched = changed = 0
        for (picture, mask), original in zip(composed(clip), base_pictures(clip), strict=True):
            assert mask.shape == original.shape[:2]
            differs = (picture != original).any(axis=2)
            assert not (differs & ~mask).any()
            touched, changed = touched + int(mask.sum()), changed + int(differs.sum())
        assert touched > 0
        # A pasted pixel may have by chance the value that was there.
        assert changed > 0.95 * touched

    @pytest.mark.parametrize("kind", [*PASTED, "frozen"])
    def test_beginning_is_untouched(self, by_kind: dict[str, SyntheticClip], kind: str) -> None:
        clip = by_kind[kind]
        start = 20  # a third of 6 s at 10 frames per second
        assert clip.normal_frames >= start
        pairs = composed(clip)
        for (picture, mask), original in zip(pairs[:start], base_pictures(clip), strict=False):
            assert np.array_equal(picture, original)
            assert not mask.any()
        with clip.open() as source:
            for frame, (picture, _) in zip(source, pairs, strict=True):
                error = np.abs(frame.bgr.astype(int) - picture)
                assert 0.0 < error.mean() < 4.0  # went through JPEG

    def test_frozen_is_anomalous_once_it_stands(self, by_kind: dict[str, SyntheticClip]) -> None:
        clip = by_kind["frozen"]
        pairs = composed(clip)
        assert clip.normal_frames == 30
        assert not any(mask.any() for _, mask in pairs[:30])
        originals = base_pictures(clip)
        walking = [(pairs[i][0] != originals[i]).any() for i in range(22, 30)]
        assert all(walking)
        assert all(mask.any() for _, mask in pairs[30:])
        assert isinstance(clip.act, Paste)
        assert clip.act.path.at(3.2) == clip.act.path.at(5.9)

    def test_reversed_is_the_section_backwards(self, by_kind: dict[str, SyntheticClip]) -> None:
        clip = by_kind["reversed"]
        for (picture, _), original in zip(
            composed(clip), reversed(base_pictures(clip)), strict=True
        ):
            assert np.array_equal(picture, original)
        assert sum(mask.any() for mask in clip.masks()) > 0.8 * clip.frame_count

    def test_hurry_takes_every_second_or_third_frame(
        self, by_kind: dict[str, SyntheticClip]
    ) -> None:
        clip = by_kind["hurry"]
        originals = base_pictures(clip)
        pairs = composed(clip)
        assert len(pairs) == clip.frame_count == len(originals) / 2.5
        for i, (picture, _) in enumerate(pairs):
            assert np.array_equal(picture, originals[(5 * i) // 2])

    def test_motion_masks_leave_out_who_stands(self) -> None:
        lanes = (LANES[0], (142, 12, 30, 0.0))
        base = LaneClip(lanes=lanes)
        empty = wall(base.size)
        clip = SyntheticClip(
            "x", "reversed", 10.0, ClipSection(base, 0, 60), Replay(backwards=True), empty, 0
        )
        masks = list(clip.masks())[1:]
        assert any(mask[40:62].any() for mask in masks)
        assert not any(mask[112:142].any() for mask in masks)


class TestClips:
    def test_all_kinds_are_made_as_sources(self, made: SyntheticSet) -> None:
        assert [clip.kind for clip in made.clips] == list(KINDS)
        assert made.left_out == {}
        for clip in made.clips:
            with clip.open() as source:
                frames = list(source)
                assert (source.fps, source.skipped, source.live) == (10.0, 0, False)
                assert source.frame_count == len(frames) == clip.frame_count
            assert [frame.index for frame in frames] == list(range(len(frames)))
            assert frames[-1].time_s == pytest.approx((len(frames) - 1) / 10.0)

    def test_pairs_are_frames_and_masks(self, by_kind: dict[str, SyntheticClip]) -> None:
        clip = by_kind["rider"]
        with clip.open() as source:
            for frame, mask, pair in zip(source, clip.masks(), clip.pairs(), strict=True):
                assert np.array_equal(frame.bgr, pair[0].bgr)
                assert np.array_equal(mask, pair[1])

    def test_same_seed_same_pixels_other_seed_others(self, made: SyntheticSet) -> None:
        def pixels(clip: SyntheticClip) -> NDArray[np.uint8]:
            return np.stack([frame.bgr for frame, _ in clip.pairs()][20::8])

        # Fewer kinds: what is made of one kind does not depend on the others.
        kinds = ("object", "rider")
        again, others = (
            make_synthetic_clips(lane_clips(), per_kind=1, seed=seed, kinds=kinds)
            for seed in (3, 4)
        )
        before = [clip for clip in made.clips if clip.kind in kinds]
        for old, same, other in zip(before, again.clips, others.clips, strict=True):
            assert old.name == same.name
            assert np.array_equal(pixels(old), pixels(same))
            assert not np.array_equal(pixels(old), pixels(other))

    def test_sections_are_spread_evenly_over_the_clips(self) -> None:
        made = make_synthetic_clips(lane_clips(), per_kind=6, seed=0, kinds=["object"])
        names = [clip.section.clip.name for clip in made.clips]
        assert sorted(names) == sorted(["lanes0", "lanes1", "lanes2"] * 2)
        starts = {(clip.section.clip.name, clip.section.start) for clip in made.clips}
        assert len(starts) == 6

    def test_short_clips_give_short_sections_or_none(self) -> None:
        short = [LaneClip(name="short", length=40), LaneClip(name="tiny", length=15)]
        made = make_synthetic_clips(short, per_kind=2, seed=0, kinds=["object", "hurry"])
        assert [clip.frame_count for clip in made.clips] == [40, 40]
        assert {clip.section.clip.name for clip in made.clips} == {"short"}
        assert "5 s" in made.left_out["hurry"]
        none = make_synthetic_clips(short[1:], per_kind=2, seed=0)
        assert none.clips == ()
        assert set(none.left_out) == set(KINDS)

    def test_static_footage_says_what_is_left_out(self) -> None:
        made = make_synthetic_clips([LaneClip(lanes=())], per_kind=1, seed=0)
        assert {clip.kind for clip in made.clips} == {"object", "slow_object"}
        assert set(made.left_out) == set(KINDS) - {"object", "slow_object"}
        assert "isolated mover" in made.left_out["fast"]
        assert "nothing moves" in made.left_out["reversed"]
        assert "assumed" in made.notes[0]
        assert any(mask.any() for mask in made.clips[0].masks())

    def test_movers_may_come_from_other_footage(self) -> None:
        empty = LaneClip(name="empty", lanes=())
        made = make_synthetic_clips(
            [empty], per_kind=1, seed=0, kinds=["fast"], cutouts_from=lane_clips()
        )
        assert [clip.section.clip.name for clip in made.clips] == ["empty"]

    def test_grey_footage_stays_grey(self) -> None:
        clip = LaneClip(lanes=())
        for i, frame in enumerate(clip.frames):
            grey = np.repeat(frame.bgr[..., :1], 3, axis=2)
            clip.frames[i] = replace(frame, bgr=grey)
        made = make_synthetic_clips([clip], per_kind=3, seed=1, kinds=["object"])
        for synthetic in made.clips:
            for picture, _ in synthetic.composed():
                assert np.ptp(picture, axis=2).max() == 0

    def test_wrong_wishes_are_named(self) -> None:
        with pytest.raises(UsageError, match="unicorn"):
            make_synthetic_clips(lane_clips(), per_kind=1, seed=0, kinds=["unicorn"])
        with pytest.raises(UsageError, match="0 synthetic clips"):
            make_synthetic_clips(lane_clips(), per_kind=0, seed=0)


def square(side: int) -> NDArray[np.uint8]:
    return np.full((side, side, 3), 250, np.uint8)


class TestGeometry:
    def test_displacement_is_speed_over_frame_rate(self) -> None:
        base = LaneClip(lanes=())
        sprite = make_sprite([square(14)], [np.ones((14, 14), np.float32)], 14.0, 10.0)
        path = Path((30.0, 80.0), (27.0, -6.0), 2.0, HeightLine(0.0, 14.0, 14.0, 14.0))
        act = Paste(sprite, path, masked_from_s=2.0)
        clip = SyntheticClip("x", "object", 10.0, ClipSection(base, 0, 60), act, wall(base.size), 0)
        middles = []
        for mask in list(clip.masks())[24:]:
            rows, columns = np.nonzero(mask)
            middles.append((columns.mean(), rows.mean()))
        steps = np.diff(middles, axis=0)
        assert np.abs(steps.mean(axis=0) - (2.7, -0.6)).max() < 0.03
        assert np.abs(steps - (2.7, -0.6)).max() < 0.75  # masks are whole pixels

    def test_size_follows_the_place(self) -> None:
        size = HeightLine(0.2, 0.0, 5.0, 60.0)
        sprite = make_sprite([square(20)], [np.ones((20, 20), np.float32)], 20.0, 1.0)
        for y in (60.0, 150.0):
            layer = place(sprite, 0, (100.0, y), size.at(y) / 20.0, (160, 216))
            assert layer is not None
            assert np.sqrt(layer.alpha.sum()) == pytest.approx(0.2 * y, abs=0.5)

    def test_pace_of_a_kind(self, crop: Harvest) -> None:
        paces = {"fast": (2.5, 4.0), "near": (2.0 * 0.85, 3.0 * 1.2)}
        made = make_synthetic_clips(lane_clips(), per_kind=4, seed=1, kinds=list(paces))
        speeds = [crop.statistics.speed_at(foot) for foot, *_ in LANES]
        for clip in made.clips:
            assert isinstance(clip.act, Paste)
            speed = float(np.hypot(*clip.act.path.velocity))
            low, high = paces[clip.kind]
            assert 0.9 * low * min(speeds) <= speed <= 1.1 * high * max(speeds)

    @given(
        x=st.floats(-400, 400),
        y=st.floats(-400, 400),
        scale=st.floats(0.05, 6.0),
        size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    )
    def test_a_paste_anywhere_stays_within_the_picture(
        self, x: float, y: float, scale: float, size: tuple[int, int]
    ) -> None:
        picture = np.zeros((60, 80, 3), np.uint8)
        alpha = np.ones(size, np.float32)
        sprite = make_sprite([np.full((*size, 3), 255, np.uint8)], [alpha], 10.0, 10.0)
        layer = place(sprite, 3, (x, y), scale, (60, 80))
        if layer is None:
            # Only what is wholly outside has no layer.
            inside = (x + scale * size[1] / 2 > 0) and (x - scale * size[1] / 2 < 79)
            assert not (inside and y > 0 and y - scale * size[0] < 59)
            return
        rows, columns = layer.window
        assert 0 <= rows.start < rows.stop <= 60
        assert 0 <= columns.start < columns.stop <= 80
        mask = blend(picture, layer)
        assert mask.shape == (60, 80)
        assert np.array_equal(mask, (picture > 0).any(axis=2))
        assert (layer.alpha[mask[layer.window]] >= LEAST_ALPHA).all()


@pytest.mark.footage
def test_ped2_has_movers_to_take(footage: FilePath) -> None:
    folder = footage / "ucsd_ped2" / "Train" / "Train001"
    clip = Clip("Train001", folder, 10.0, "ped2")
    made = make_synthetic_clips([clip], per_kind=1, seed=0, kinds=["fast", "rider"])
    assert made.left_out == {}
    for synthetic in made.clips:
        areas = [int(mask.sum()) for mask in synthetic.masks()]
        assert sum(area > 50 for area in areas) > 0.3 * len(areas)
