"""Rendered scenes: the same for the same seed, and true to their own ground truth."""

from __future__ import annotations

from hashlib import sha256
from math import inf
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.errors import CannotCreateError, ConfigError
from trainer.datasets.layouts import open_dataset
from trainer.scenes import KINDS, SceneSettings, render_scene
from trainer.scenes.actor import Actor
from trainer.scenes.camera import SceneCamera
from trainer.scenes.ground import lanes, scale_at
from trainer.scenes.people import WALKING_SPEED, Person
from trainer.scenes.route import Route
from trainer.scenes.script import ClipScript, write_scripts

# Of all raw frames and masks of a scene of 12 s and a test, before kinds and conditions were added.
TINY = SceneSettings(width=96, height=64, fps=2.0, normal_seconds=12.0, test_seconds=8.0)
TINY_SHA256 = "5fb4275a5ea3cc87b4c515a061128ded1c54721adef43e7778b88910a5df2a5c"
SMALL = SceneSettings(width=160, height=112, fps=4.0, normal_seconds=6.0, test_seconds=8.0)


def small(**changes: object) -> SceneSettings:
    return SceneSettings(**{**vars(SMALL), **changes})


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def changed(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (one != other).any(axis=2)


def grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)


def walker(foot_y: float, seed: int, *, anomalous: bool = False) -> Actor:
    route = Route(0.0, 0.0, foot_y, 20.0, 1)
    painter = Person(np.random.default_rng(seed), 40.0)
    return Actor(painter, route, -inf if anomalous else inf)


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path: Path) -> None:
    scenes = [small(seed=seed, anomalies=("cyclist",)) for seed in (1, 1, 2)]
    truths = [render_scene(scene, tmp_path / str(n)) for n, scene in enumerate(scenes)]
    trees = [tree(tmp_path / str(n)) for n in range(3)]
    assert trees[0] == trees[1]
    assert truths[0] == truths[1]
    normal = "normal/normal_01.avi"
    assert trees[0][normal] != trees[2][normal]


def test_the_default_scene_stays_as_it_was_first_published() -> None:
    digest, camera = sha256(), SceneCamera(TINY)
    for script in write_scripts(TINY):
        digest.update(f"{script.part}{script.name}{script.frames}".encode())
        for picture, mask in camera.frames(script):
            digest.update(picture.tobytes())
            digest.update(b"-" if mask is None else mask.tobytes())
    assert digest.hexdigest() == TINY_SHA256


def test_a_data_set_reader_sees_labels_that_match_the_masks(tmp_path: Path) -> None:
    truth = render_scene(SMALL, tmp_path / "scene")
    dataset = open_dataset(tmp_path / "scene")
    assert dataset.layout == "folders"
    assert [clip.name for clip in dataset.train] == list(truth.normal_clips)
    assert {clip.name for clip in dataset.test} == set(truth.clips)
    for clip in dataset.test:
        masks = clip.masks()
        assert masks is not None
        with clip.open() as source:
            frames = list(source)
        flags = np.array([mask is not None and bool(mask.any()) for mask in masks])
        assert len(frames) == len(flags) == truth.frames[clip.name]
        assert frames[0].bgr.shape == (SMALL.height, SMALL.width, 3)
        labels = clip.frame_labels(len(frames))
        assert labels is not None
        np.testing.assert_array_equal(labels, flags)
        told = np.zeros(len(flags), bool)
        for event in truth.clips[clip.name]:
            assert event.kind in clip.name
            told[event.first_frame : event.last_frame + 1] = True
        np.testing.assert_array_equal(told, flags)
    assert truth.event_count >= len(SMALL.anomalies)
    assert truth.normal_frames == sum(clip.frame_count or 0 for clip in dataset.train)


@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), perspective=st.booleans())
def test_the_normal_part_has_no_anomaly(seed: int, perspective: bool) -> None:
    scene = small(seed=seed, perspective=perspective)
    camera = SceneCamera(scene)
    normal = [script for script in write_scripts(scene) if script.part == "normal"]
    headings = {lane.heading: lane.feet for lane in lanes(scene)}
    for script in normal:
        assert script.kind is None
        assert all(mask is None for _, mask in camera.frames(script))
        for actor in script.actors:
            assert actor.anomalous_from_s == inf
            first, last = headings[actor.route.heading]
            assert first <= actor.route.foot_y <= last
            pace = actor.route.speed / scale_at(scene, actor.route.foot_y)
            assert WALKING_SPEED[0] <= pace <= WALKING_SPEED[1]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("perspective", [False, True])
def test_a_mask_is_what_taking_the_actor_away_changes(kind: str, perspective: bool) -> None:
    scene = SceneSettings(
        seed=5, fps=1.5, anomalies=(kind,), perspective=perspective, test_seconds=10.0
    )
    camera = SceneCamera(scene)
    script = write_scripts(scene)[-1]
    others = [actor for actor in script.actors if actor.anomalous_from_s == inf]
    assert len(others) < len(script.actors)
    masked = unmarked = unchanged = 0
    for index in range(script.frames):
        picture, mask = camera.draw(script.actors, index / scene.fps)
        if mask is None:
            continue
        without = camera.draw(others, index / scene.fps)[0]
        difference = changed(picture, without)
        clearly = cv2.absdiff(picture, without).max(axis=2) > 40
        masked += int(mask.sum())
        unmarked += int((clearly & ~grown(mask)).sum())
        unchanged += int((mask & ~difference).sum())
    assert masked > 100  # a ball is small and fast
    # Beside the mask and its anti-aliased rim of one pixel nothing changes clearly, but for slits
    # between people in front through which less than half of a pixel is seen.
    assert unmarked <= 0.005 * masked
    # Inside it every pixel does, but for a garment that equals what is behind it.
    assert unchanged <= 0.02 * masked


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("seed", [0, 1])
def test_an_event_has_normal_life_before_and_after_it(kind: str, seed: int) -> None:
    scene = SceneSettings(
        seed=seed, fps=5.0, anomalies=(kind,), people_per_minute=0.0, test_seconds=30.0
    )
    (script,) = (one for one in write_scripts(scene) if one.part == "test")
    assert script.frames >= 5.0 * scene.test_seconds
    camera = SceneCamera(scene)
    flags = [
        camera.draw(script.actors, index / scene.fps)[1] is not None
        for index in range(script.frames)
    ]
    assert any(flags)
    assert not any(flags[:15])  # 3 s; the very edge of the picture takes a moment to be crossed
    assert not any(flags[-15:])
    # Alone in the scene nobody hides it: one run.
    assert sum(now and not before for before, now in zip([False, *flags], flags, strict=False)) == 1


def test_who_stands_in_front_is_taken_out_of_the_mask() -> None:
    scene = small(people_per_minute=0.0)
    camera = SceneCamera(scene)
    behind, front = walker(80.0, 1, anomalous=True), walker(84.0, 2)
    _, alone = camera.draw([behind], 3.0)
    covered, both = camera.draw([behind, front], 3.0)
    assert alone is not None
    assert both is not None
    hidden = alone & ~both
    assert hidden.sum() > 0.2 * alone.sum()
    # Where the mask lost a pixel the picture shows the one in front and nothing of the other.
    only_front, _ = camera.draw([front], 3.0)
    core = cv2.erode(hidden.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert core.any()
    assert not changed(covered, only_front)[core].any()
    assert not (both & ~alone).any()


def test_somebody_on_the_wrong_side_is_normal_until_he_turns() -> None:
    scene = SceneSettings(anomalies=("wrong_way",), people_per_minute=0.0)
    (actor,) = write_scripts(scene)[-1].actors
    lane = next(lane for lane in lanes(scene) if lane.feet[0] <= actor.route.foot_y <= lane.feet[1])
    before = actor.route.at(actor.route.turn_s - 0.5)
    after = actor.route.at(actor.anomalous_from_s + 0.1)
    assert (before.heading, after.heading) == (lane.heading, -lane.heading)
    camera = SceneCamera(scene)
    assert camera.draw([actor], actor.route.turn_s - 0.5)[1] is None
    assert camera.draw([actor], actor.anomalous_from_s + 0.1)[1] is not None


def test_nothing_moves_in_an_empty_scene_without_noise() -> None:
    scene = small(people_per_minute=0.0, noise=0.0)
    camera = SceneCamera(scene)
    script = ClipScript("normal", "empty", 5, (), None, (0,))
    frames = [picture for picture, _ in camera.frames(script)]
    assert all(np.array_equal(frame, camera.background) for frame in frames)
    assert camera.background.std() > 20.0


def test_noise_and_light_are_as_strong_as_they_are_set() -> None:
    script = ClipScript("normal", "empty", 40, (), None, (0,))
    noisy = [p for p, _ in SceneCamera(small(noise=4.0)).frames(script)]
    background = SceneCamera(small(noise=0.0)).background
    # Of pixels that do not clip; rounding to whole grey levels adds 1/12.
    clear = (background > 30) & (background < 225)
    spread = (noisy[0].astype(float) - background)[clear].std()
    assert spread == pytest.approx((16.0 + 1.0 / 12.0) ** 0.5, rel=0.05)
    between = (noisy[1].astype(float) - noisy[0])[clear].std()
    assert between == pytest.approx(2.0**0.5 * spread, rel=0.05)

    slow = ClipScript("normal", "empty", 400, (), None, (0,))  # 80 s: more than one period
    drifting = SceneCamera(small(noise=0.0, light_drift=0.1))
    means = np.array([p[clear].mean() for p, _ in drifting.frames(slow)]) / background[clear].mean()
    assert means.min() == pytest.approx(0.9, abs=0.01)
    assert means.max() == pytest.approx(1.1, abs=0.01)


def test_with_perspective_people_in_the_far_lane_are_smaller_and_slower() -> None:
    flat, deep = SceneSettings(), SceneSettings(perspective=True)
    far, near = (lane.feet[0] for lane in lanes(deep))
    assert scale_at(flat, far) == scale_at(flat, near) == 1.0
    assert scale_at(deep, far) < scale_at(deep, near)
    heights = []
    for foot_y in (far, near):
        camera = SceneCamera(deep)
        actor = Actor(
            Person(np.random.default_rng(0), 45.0 * scale_at(deep, foot_y)),
            Route(0.0, 200.0, foot_y, 1.0, 1),
            -inf,
        )
        mask = camera.draw([actor], 0.0)[1]
        assert mask is not None
        heights.append(int(np.flatnonzero(mask.any(axis=1)).size))
    assert heights[0] < 0.85 * heights[1]


def test_figures_keep_their_speed_per_second_at_another_frame_rate() -> None:
    slow, fast = (write_scripts(small(fps=fps)) for fps in (5.0, 15.0))
    assert slow[0].actors[0].route == fast[0].actors[0].route
    assert fast[0].frames == pytest.approx(3 * slow[0].frames, abs=2)


def test_an_unknown_kind_is_refused_with_the_list_of_kinds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'elephant'") as caught:
        render_scene(small(anomalies=("elephant",)), tmp_path / "scene")
    assert "cyclist" in (caught.value.mend or "")
    assert not (tmp_path / "scene").exists()


def test_all_settings_out_of_range_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"width is 10.*fps is 0.*noise is -1"):
        SceneSettings(width=10, fps=0.0, noise=-1.0)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(CannotCreateError, match="not empty"):
        render_scene(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_progress_counts_each_frame_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    scene = small(anomalies=("cyclist",))
    truth = render_scene(scene, tmp_path / "s", progress=lambda *pair: seen.append(pair))
    total = truth.normal_frames + truth.test_frames
    assert seen == [(done, total) for done in range(1, total + 1)]
