"""Each kind of anomaly does what its name says, wherever and at whatever rate it is seen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import ConfigError
from trainer.scenes import KINDS, SceneSettings, scene_for
from trainer.scenes.actor import Actor
from trainer.scenes.acts import Act
from trainer.scenes.camera import SceneCamera
from trainer.scenes.figure import RUN, WALK
from trainer.scenes.incidents import LOITER_RADIUS
from trainer.scenes.people import BODY_PX, RUNNING_SPEED, WALKING_SPEED, Person
from trainer.scenes.route import Key, Route, Throw, Track
from trainer.scenes.script import ClipScript, write_scripts
from trainer.scenes.throw import GRAVITY

Mask = NDArray[np.bool_]


def clip(kind: str, **changes: object) -> tuple[SceneSettings, ClipScript]:
    scene = SceneSettings(
        **{"test_seconds": 10.0, "people_per_minute": 0.0, **changes, "anomalies": (kind,)}
    )
    return scene, write_scripts(scene)[-1]


def act(kind: str, seed: int = 0, **changes: object) -> tuple[SceneSettings, Act]:
    scene = SceneSettings(**changes)
    return scene, KINDS[kind](np.random.default_rng(seed), scene)


def anomalous(actors: tuple[Actor, ...]) -> list[Actor]:
    return [actor for actor in actors if actor.anomalous_from_s < inf]


def event(script: ClipScript) -> tuple[float, float]:
    """From the first to the last moment that the script marks, s."""
    marked = anomalous(script.actors)
    return (
        min(max(actor.from_s, actor.anomalous_from_s) for actor in marked),
        max(actor.until_s for actor in marked),
    )


def masks(scene: SceneSettings, script: ClipScript, times: object) -> Iterator[Mask]:
    camera = SceneCamera(scene)
    for time_s in np.asarray(times, np.float64).tolist():
        mask = camera.draw(script.actors, time_s)[1]
        assert mask is not None, time_s
        yield mask


def box(mask: Mask) -> tuple[int, int]:
    """Width and height of what is marked, px."""
    return int(mask.any(axis=0).sum()), int(mask.any(axis=1).sum())


def centre(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("width", "height", "perspective"), [(320, 240, False), (1280, 720, True)])
def test_any_size_shows_the_event_and_quiet_around_it(
    kind: str, width: int, height: int, perspective: bool
) -> None:
    scene, script = clip(kind, width=width, height=height, perspective=perspective, seed=3)
    camera = SceneCamera(scene)
    seconds = script.frames / scene.fps
    for time_s in (0.0, 3.0, seconds - 3.0, seconds - 0.1):
        assert camera.draw(script.actors, time_s)[1] is None
    shares = []
    for time_s in np.arange(4.0, seconds - 4.0, 0.5).tolist():
        mask = camera.draw(script.actors, time_s)[1]
        shares.append(0.0 if mask is None else float(mask.mean()))
    seen = np.flatnonzero(shares)
    assert len(seen) >= 4
    assert np.count_nonzero(shares) == seen[-1] - seen[0] + 1
    # Sizes are shares of the picture: a ball is the least, somebody near the camera the most.
    assert 1e-4 < max(shares) < 0.5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_faster_camera_sees_the_same_scene(kind: str) -> None:
    slow, fast = (clip(kind, fps=fps)[1] for fps in (10.0, 30.0))
    assert fast.frames == pytest.approx(3 * slow.frames, abs=3)
    for one, other in zip(slow.actors, fast.actors, strict=True):
        assert one.route == other.route
        assert one.anomalous_from_s == other.anomalous_from_s


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_truth_lasts_exactly_as_long_as_the_script_says(kind: str) -> None:
    scene, script = clip(kind, seed=4)
    camera = SceneCamera(scene)
    start, end = event(script)
    if np.isinf(start) or np.isinf(end):
        return  # it comes in from outside, or leaves: then it is as long as it can be seen
    for time_s, marked in ((start - 0.01, False), (start + 0.01, True), (end + 0.01, False)):
        assert (camera.draw(script.actors, time_s)[1] is not None) == marked, time_s


def test_fifteen_seconds_of_normal_life_are_enough_for_a_script() -> None:
    scripts = write_scripts(scene_for("dog", normal_seconds=15.0))
    normal = [script for script in scripts if script.part == "normal"]
    assert sum(script.frames for script in normal) == pytest.approx(150, abs=6)


@pytest.mark.parametrize("kind", ["cyclist", "running", "dog"])
def test_what_is_fast_outpaces_every_walker(kind: str) -> None:
    for seed in range(20):
        scene, found = act(kind, seed)
        route = found.actors[0].route
        assert isinstance(route, Route)
        assert route.speed > 1.4 * WALKING_SPEED[1] * scene.unit


def test_a_dog_is_lower_than_a_person_and_longer_than_it_is_high() -> None:
    scene, script = clip("dog")
    (actor,) = anomalous(script.actors)
    assert isinstance(actor.route, Route)
    middle_s = actor.route.start_s + 0.5 * scene.width / actor.route.speed
    (mask,) = masks(scene, script, [middle_s])
    width, height = box(mask)
    assert 1.2 * height < width
    assert height < 0.8 * BODY_PX


@pytest.mark.parametrize("seed", range(6))  # on the face and on the back, both lanes
def test_somebody_who_fell_lies_and_gets_up_again(seed: int) -> None:
    scene, script = clip("falling", seed=seed)
    start, end = event(script)
    upright, lying, up = (
        box(mask) for mask in masks(scene, script, [start, (start + end) / 2, end - 0.1])
    )
    assert upright[1] > 1.8 * upright[0]
    assert lying[0] > 3.0 * lying[1]
    assert lying[0] == pytest.approx(upright[1], rel=0.25)  # arms ahead
    assert up[1] > up[0]


def test_crouching_and_crawling_make_people_lower() -> None:
    heights = {}
    for kind in ("crouching", "crawling"):
        scene, script = clip(kind, seed=1)
        start, end = event(script)
        upright, down = (box(mask) for mask in masks(scene, script, [start, (start + end) / 2]))
        heights[kind] = down[1] / upright[1]
        assert (down[0] > 1.3 * down[1]) == (kind == "crawling")
    assert heights["crawling"] < heights["crouching"] < 0.7


def test_somebody_who_crawls_gets_on_slower_than_a_walker() -> None:
    scene, script = clip("crawling", seed=1)
    start, end = event(script)
    first, last = (centre(mask)[0] for mask in masks(scene, script, [start + 2.0, end - 2.0]))
    pace = abs(last - first) / (end - start - 4.0)
    assert 4.0 < pace < 0.85 * WALKING_SPEED[0]


@pytest.mark.parametrize("perspective", [False, True])
def test_a_loiterer_stays_about_the_place_for_long(perspective: bool) -> None:
    scene, script = clip("loitering", perspective=perspective, seed=2)
    start, end = event(script)
    assert end - start >= 15.0
    (actor,) = anomalous(script.actors)
    centre_x = actor.route.at(start).x
    ways = [actor.route.at(time_s).x - centre_x for time_s in np.arange(start, end, 0.1)]
    body = BODY_PX * (1.25 if perspective else 1.0)
    assert np.abs(ways).max() <= LOITER_RADIUS * body
    assert np.ptp(ways) > 0.3 * BODY_PX
    # Back and forth, with rests between.
    steps = np.diff(ways)
    turns = np.count_nonzero(np.diff(np.sign(steps[np.abs(steps) > 1e-9])))
    assert turns >= 3
    assert np.mean(np.abs(steps) < 1e-9) > 0.1
    for mask in masks(scene, script, np.linspace(start, end - 0.1, 5)):
        assert abs(centre(mask)[0] - centre_x) < (LOITER_RADIUS + 0.3) * body


def test_a_bag_is_left_where_it_was_put_and_taken_away() -> None:
    scene, script = clip("left_bag", seed=1)
    start, end = event(script)
    rest = list(masks(scene, script, np.linspace(start + 3.0, end - 3.0, 4)))
    assert all(np.array_equal(rest[0], mask) for mask in rest)
    width, height = box(rest[0])
    assert height < width < 0.6 * BODY_PX
    # Carried in and off: the bag is in the picture, and nothing is marked.
    bags = [a for a in script.actors if isinstance(a.route, Track) and a.route.at(0.0).lift > 0.0]
    assert any(bag.anomalous_from_s == inf for bag in bags)
    before, during = bags[0].route.at(start - 1.0), bags[0].route.at(start - 2.0)
    assert abs(before.x - during.x) >= WALKING_SPEED[0]


@pytest.mark.parametrize("seed", range(4))  # balls and stones
def test_what_is_thrown_follows_a_parabola(seed: int) -> None:
    scene, script = clip("thrown", seed=seed)
    (actor,) = anomalous(script.actors)
    route = actor.route
    assert isinstance(route, Throw)
    times = np.linspace(route.start_s + 0.15, route.landing_s - 0.05, 12)
    points = np.array([centre(mask) for mask in masks(scene, script, times)])
    way = np.polyfit(times, points[:, 0], 1)
    fall = np.polyfit(times, points[:, 1], 2)
    assert np.abs(points[:, 0] - np.polyval(way, times)).max() < 0.6
    assert np.abs(points[:, 1] - np.polyval(fall, times)).max() < 0.6
    assert way[0] == pytest.approx(route.heading * route.speed, rel=0.02)
    assert 2.0 * fall[0] == pytest.approx(GRAVITY, rel=0.03)


def test_a_throw_bounces_lower_each_time_and_rolls_on() -> None:
    route = Throw(1.0, 0.0, 100.0, 40.0, 50.0, 120.0, 260.0, 1, 0.5, 0.8)
    lifts = [route.at(time_s).lift for time_s in np.arange(1.0, 12.0, 0.01)]
    assert route.at(route.landing_s).lift == pytest.approx(0.0, abs=1e-6)
    assert min(lifts) > -1e-9
    peaks = [b for a, b, c in zip(lifts, lifts[1:], lifts[2:], strict=False) if a < b > c]
    assert peaks[0] == pytest.approx(40.0 + 120.0**2 / 520.0, abs=0.1)
    assert peaks[2] == pytest.approx(peaks[1] / 4.0, rel=0.05)
    assert lifts[-1] == 0.0
    assert route.at(12.0).x > route.at(11.0).x
    assert route.at(route.end_s(150.0)).travelled == pytest.approx(150.0, abs=0.1)


def test_somebody_near_the_camera_is_large_and_crosses_the_front() -> None:
    scene, script = clip("near_camera")
    (actor,) = anomalous(script.actors)
    assert isinstance(actor.route, Route)
    assert script.actors[-1] is actor  # drawn last
    middle_s = actor.route.start_s + 0.5 * scene.width / actor.route.speed
    one, other = masks(scene, script, [middle_s, middle_s + 0.5])
    assert box(one)[1] > 0.6 * scene.height
    assert one[-1].any()  # cut by the lower edge
    assert abs(centre(other)[0] - centre(one)[0]) > 2.0 * WALKING_SPEED[1] * 0.5


@pytest.mark.parametrize("people_per_minute", [0.0, 40.0])
def test_in_a_panic_all_who_are_in_the_picture_run(people_per_minute: float) -> None:
    scene, script = clip("panic", people_per_minute=people_per_minute, seed=1)
    start, end = event(script)
    assert 4.0 <= end - start <= 6.0

    def paces(time_s: float) -> list[float]:
        seen = [actor for actor in script.actors if actor.seen_at(time_s, scene.width)]
        ways = (a.route.at(time_s).x - a.route.at(time_s - 0.1).x for a in seen)
        return [abs(way) / 0.1 for way in ways]

    before, within, after = paces(start - 0.5), paces(start + 0.5), paces(end + 0.5)
    assert len(before) >= 4
    assert within
    assert all(WALKING_SPEED[0] - 0.01 <= pace <= WALKING_SPEED[1] + 0.01 for pace in before)
    assert all(RUNNING_SPEED[0] - 0.01 <= pace <= RUNNING_SPEED[1] + 0.01 for pace in within)
    assert all(pace <= WALKING_SPEED[1] + 0.01 for pace in after)
    # They run apart, from one place.
    runners = [(a.route.at(start).x, a.route.at(start).heading) for a in anomalous(script.actors)]
    headings = [heading for _, heading in sorted(runners)]
    assert headings == sorted(headings)
    # Nobody jumps when he begins to run or to walk again.
    for moment in (start, end):
        places = [
            sorted(a.route.at(t).x for a in script.actors if a.seen_at(t, scene.width))
            for t in (moment - 1e-6, moment)
        ]
        np.testing.assert_allclose(*places, atol=0.01)


def test_limbs_go_on_from_where_they_are_when_the_gait_changes() -> None:
    walker = Person(np.random.default_rng(0), 45.0)
    cycle = WALK.cycle_px(walker.looks.height)
    runner = walker.going_on(RUN, 0.25 * cycle)
    assert runner.phase == pytest.approx(walker.phase + 0.25)
    assert runner.looks is walker.looks


def test_a_track_is_at_its_keys_and_at_rest_outside_them() -> None:
    track = Track(50.0, (Key(1.0, 10.0, 1), Key(2.0, 20.0, -1, 4.0, 1.0), Key(4.0, 10.0, -1)))
    assert [track.at(t).x for t in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0)] == [
        10.0, 10.0, 15.0, 20.0, 15.0, 10.0, 10.0,
    ]  # fmt: skip
    assert (track.at(1.5).lift, track.at(1.5).progress) == (2.0, 0.5)
    ways = [track.at(t).travelled for t in (0.0, 1.5, 2.0, 3.0, 9.0)]
    assert ways == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert all(one <= other for one, other in pairwise(ways))
    assert track.at(3.0) == track.later(7.0).at(10.0)


def test_a_scene_for_a_kind_shows_it_alone() -> None:
    scene = scene_for("panic", condition="rain", perspective=True, width=320, height=240, fps=25.0)
    assert scene.anomalies == ("panic",)
    assert scene.conditions.rain > 0.0
    assert (scene.width, scene.height, scene.fps, scene.perspective) == (320, 240, 25.0, True)
    for arguments in ({"kind": "elephant"}, {"kind": "dog", "condition": "fog"}):
        with pytest.raises(ConfigError, match=r"elephant|fog") as caught:
            scene_for(**arguments)
        assert "choose from" in (caught.value.mend or "")
