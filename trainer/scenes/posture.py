"""Postures of people who do not walk: joint angles, blended, set on the ground by themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import cos, pi, radians, sin

from trainer.scenes.brush import Brush, Point, shade
from trainer.scenes.figure import FOREARM, SHIN, THIGH, TORSO, UPPER_ARM, Looks
from trainer.scenes.route import Place

_CRAWL_CYCLE = 0.5  # body heights of way for a full cycle on hands and knees


@dataclass(frozen=True)
class Pose:
    """Angles in degrees from straight down, positive ahead; the trunk's from straight up.

    Attributes:
        trunk: Lean of the trunk.
        head: Lean of neck and head.
        thighs: Far and near.
        shins: Far and near.
        feet: Direction of the toes.
        arms: Upper arms, far and near.
        forearms: Far and near.
        hip: Of the hips ahead of `Place.x`, body heights.
        crawl: Swing of thighs and arms to each side while it moves.
    """

    trunk: float
    head: float
    thighs: tuple[float, float]
    shins: tuple[float, float]
    feet: float
    arms: tuple[float, float]
    forearms: tuple[float, float]
    hip: float = 0.0
    crawl: float = 0.0


STANDING = Pose(2, 4, (-4, 4), (-8, 0), 90, (-4, 4), (6, 14))
CROUCHING = Pose(32, 20, (92, 104), (-52, -44), 92, (50, 62), (75, 90), -0.04)
STOOPING = Pose(64, 60, (14, 30), (-32, -18), 90, (8, 16), (6, 10), -0.06)
ON_FACE = Pose(91, 84, (-88, -92), (-90, -92), -86, (112, -82), (84, -98), 0.46)
ON_BACK = Pose(-91, -86, (88, 108), (89, 64), 150, (-122, 98), (-140, 74), -0.46)
ON_HANDS_AND_KNEES = Pose(76, 58, (-4, 4), (-90, -88), -84, (4, -4), (-2, 2), 0.0, 20.0)


def blend(one: Pose, other: Pose, share: float) -> Pose:
    """The posture between two: `one` at share 0, `other` at 1."""

    def mix(a: float | tuple[float, float], b: float | tuple[float, float]) -> object:
        if isinstance(a, tuple) and isinstance(b, tuple):
            return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
        assert not isinstance(a, tuple)
        assert not isinstance(b, tuple)
        return a + share * (b - a)

    names = (field.name for field in fields(Pose))
    mixed = {name: mix(getattr(one, name), getattr(other, name)) for name in names}
    return Pose(**mixed)  # type: ignore[arg-type]  # every field is a number or a pair of them


def draw_posed(brush: Brush, looks: Looks, pose: Pose, place: Place) -> None:
    """Draw a person in a posture; what of the body is lowest touches the ground.

    Args:
        brush: Picture and truth.
        looks: Clothing and size.
        pose: The posture.
        place: Ground contact and heading.
    """
    swing = pose.crawl * sin(2.0 * pi * place.travelled / (_CRAWL_CYCLE * looks.height))
    legs = [
        _chain((0.0, 0.0), ((THIGH, thigh + turn * swing), (SHIN, shin), (0.055, pose.feet)))
        for thigh, shin, turn in zip(pose.thighs, pose.shins, (1, -1), strict=True)
    ]
    shoulder = _moved((0.0, 0.0), TORSO, 180.0 - pose.trunk)
    arms = [
        _chain(
            _moved(shoulder, -0.02, 180.0 - pose.trunk),
            ((UPPER_ARM, arm - turn * swing), (FOREARM, forearm - turn * swing)),
        )
        for arm, forearm, turn in zip(pose.arms, pose.forearms, (1, -1), strict=True)
    ]
    head = _moved(_moved(shoulder, 0.05, 180.0 - pose.trunk), 0.06, 180.0 - pose.head)
    depths = [(0.0, 0.06), (shoulder[1], 0.075), (head[1], 0.065)]
    depths += [(y, 0.024) for chain in (*legs, *arms) for _, y in chain[1:]]
    raised = max(y + radius for y, radius in depths)

    def at(point: Point) -> Point:
        ahead, below = pose.hip + point[0], point[1] - raised
        size = looks.height
        return place.x + place.heading * ahead * size, place.y - place.lift + below * size

    _draw_arm(brush, looks, [at(point) for point in arms[0]], far=True)
    _draw_leg(brush, looks, [at(point) for point in legs[0]], far=True)
    _draw_leg(brush, looks, [at(point) for point in legs[1]], far=False)
    size = looks.height
    chest = _moved(shoulder, -0.035, 180.0 - pose.trunk)
    if looks.backpack:
        behind = 270.0 - pose.trunk  # out of the back
        pack = (_moved(_moved(shoulder, -part, 180.0 - pose.trunk), 0.09, behind)
                for part in (0.06, 0.17))  # fmt: skip
        top, bottom = (at(point) for point in pack)
        brush.limb(top, bottom, 0.1 * size, 0.11 * size, shade(looks.trousers, 1.4))
    brush.limb(at(shoulder), at(head), 0.06 * size, 0.06 * size, looks.skin)
    waist = _moved((0.0, 0.0), 0.02, 180.0 - pose.trunk)
    brush.limb(at(waist), at(chest), 0.125 * size, 0.155 * size, looks.top)
    brush.disc(at(head), 0.062 * size, looks.hair)
    face = _moved(_moved(head, 0.016, 180.0 - pose.head), 0.024, 90.0 - pose.head)
    brush.disc(at(face), 0.048 * size, looks.skin)
    _draw_arm(brush, looks, [at(point) for point in arms[1]], far=False)


def _moved(start: Point, length: float, angle: float) -> Point:
    """`start` (ahead, below) moved along an angle in degrees from straight down."""
    return start[0] + length * sin(radians(angle)), start[1] + length * cos(radians(angle))


def _chain(start: Point, bones: tuple[tuple[float, float], ...]) -> list[Point]:
    """The joints of (length, angle) bones from `start` on."""
    joints = [start]
    for length, angle in bones:
        joints.append(_moved(joints[-1], length, angle))
    return joints


def _draw_leg(brush: Brush, looks: Looks, joints: list[Point], *, far: bool) -> None:
    hip, knee, ankle, toe = joints
    size, colour = looks.height, shade(looks.trousers, 0.75 if far else 1.0)
    brush.limb(ankle, toe, 0.045 * size, 0.035 * size, (35, 35, 40))
    brush.limb(hip, knee, 0.11 * size, 0.08 * size, colour)
    brush.limb(knee, ankle, 0.08 * size, 0.05 * size, colour)


def _draw_arm(brush: Brush, looks: Looks, joints: list[Point], *, far: bool) -> None:
    start, elbow, hand = joints
    size, colour = looks.height, shade(looks.top, 0.7 if far else 0.88)
    brush.limb(start, elbow, 0.07 * size, 0.06 * size, colour)
    brush.limb(elbow, hand, 0.055 * size, 0.04 * size, colour)
    brush.disc(hand, 0.026 * size, looks.skin)
