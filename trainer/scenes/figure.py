"""People: looks, gait and drawing. All lengths are shares of the body height."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, radians, sin, sqrt

import numpy as np

from trainer.scenes.brush import Brush, Colour, Point, shade
from trainer.scenes.route import Place

THIGH, SHIN, TORSO, UPPER_ARM, FOREARM = 0.245, 0.235, 0.30, 0.165, 0.15
_SKINS: tuple[Colour, ...] = ((150, 180, 225), (120, 155, 205), (80, 115, 165), (55, 75, 115))
_HAIRS: tuple[Colour, ...] = ((25, 25, 30), (40, 60, 85), (90, 130, 160), (130, 130, 135))
_TOPS: tuple[Colour, ...] = (
    (60, 50, 160), (150, 80, 40), (70, 110, 60), (200, 200, 205), (40, 40, 45),
    (60, 150, 200), (140, 120, 150), (110, 70, 60),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = (
    (95, 65, 45), (45, 42, 40), (90, 95, 100), (60, 80, 105), (120, 90, 70),
)  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """Clothing and size: height in px, colours BGR."""

    height: float
    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    backpack: bool


def random_looks(rng: np.random.Generator, height: float) -> Looks:
    """A person about `height` px tall."""

    def pick(colours: tuple[Colour, ...]) -> Colour:
        return shade(colours[int(rng.integers(len(colours)))], float(rng.uniform(0.85, 1.15)))

    return Looks(
        height * float(rng.uniform(0.92, 1.08)),
        pick(_SKINS),
        pick(_HAIRS),
        pick(_TOPS),
        pick(_TROUSERS),
        bool(rng.random() < 0.25),
    )


@dataclass(frozen=True)
class Gait:
    """How limbs move; angles in degrees.

    Attributes:
        hip: Swing of the legs to each side.
        knee: Bend of the knee in mid-swing.
        arm: Swing of the arms to each side.
        elbow: Constant bend of the elbows.
        lean: Forward lean of the trunk.
        reach: Way of a full cycle in units of what the legs span on the ground; above 1 = flight.
    """

    hip: float
    knee: float
    arm: float
    elbow: float
    lean: float
    reach: float = 1.0

    def cycle_px(self, height: float) -> float:
        """Way of two steps, px: the standing foot then stays where it is on the ground."""
        return 4.0 * (THIGH + SHIN) * height * sin(radians(self.hip)) * self.reach


WALK = Gait(hip=20.0, knee=42.0, arm=24.0, elbow=14.0, lean=2.0)
SHUFFLE = Gait(hip=9.0, knee=22.0, arm=7.0, elbow=14.0, lean=2.0)
LADEN = Gait(hip=20.0, knee=42.0, arm=3.0, elbow=2.0, lean=4.0)  # something heavy in the hands
RUN = Gait(hip=36.0, knee=80.0, arm=42.0, elbow=85.0, lean=13.0, reach=1.05)


def draw_walker(brush: Brush, looks: Looks, gait: Gait, place: Place, phase: float) -> None:
    """Draw a walking or running person.

    Args:
        brush: Picture and truth.
        looks: Clothing and size.
        gait: How the limbs move.
        place: Feet and heading.
        phase: Share of a gait cycle at the start of the way, 0..1.
    """
    cycle = 2.0 * pi * (place.travelled / gait.cycle_px(looks.height) + phase)
    legs = [_leg(gait, cycle + offset) for offset in (pi, 0.0)]  # far, near
    # The lower foot stands on the ground: that gives the hips their rise and fall.
    hip_y = place.y - looks.height * (max(leg[1][1] for leg in legs) + 0.02)
    trunk = _Trunk(looks, place.heading, (place.x, hip_y), gait.lean)
    swings = [radians(gait.arm) * sin(cycle + offset) for offset in (0.0, pi)]

    trunk.arm(brush, swings[0], radians(gait.elbow), far=True)
    trunk.leg(brush, *legs[0], far=True)
    trunk.leg(brush, *legs[1], far=False)
    trunk.body(brush)
    trunk.arm(brush, swings[1], radians(gait.elbow), far=False)


def draw_seated(
    brush: Brush, looks: Looks, heading: int, hip: Point, feet: tuple[Point, Point], hand: Point
) -> None:
    """Draw a person that sits (on a bicycle, in a cart).

    Args:
        brush: Picture and truth.
        looks: Clothing and size.
        heading: +1 to the right, -1 to the left.
        hip: The hips, px.
        feet: Far and near foot, px; knees bend towards the heading.
        hand: Both hands (handlebar, wheel), px.
    """
    trunk = _Trunk(looks, heading, hip, lean=24.0)
    for foot, far in zip(feet, (True, False), strict=True):
        ahead = (foot[0] - hip[0]) * heading / looks.height, (foot[1] - hip[1]) / looks.height
        trunk.leg(brush, _bent_joint(ahead), ahead, far=far)
    trunk.body(brush)
    shoulder = trunk.point(trunk.shoulder)
    brush.limb(shoulder, hand, 0.07 * looks.height, 0.05 * looks.height, shade(looks.top, 0.85))
    brush.disc(hand, 0.032 * looks.height, looks.skin)


def _leg(gait: Gait, cycle: float) -> tuple[Point, Point]:
    """Knee and ankle relative to the hip, heading to the right, in body heights."""
    hip = radians(gait.hip) * sin(cycle)
    shin = hip - radians(gait.knee) * max(0.0, cos(cycle)) - radians(4.0)
    knee = THIGH * sin(hip), THIGH * cos(hip)
    return knee, (knee[0] + SHIN * sin(shin), knee[1] + SHIN * cos(shin))


def _bent_joint(foot: Point) -> Point:
    """The knee between the hip at (0, 0) and `foot` that points forward, in body heights."""
    reach = max(1e-6, min(hypot(*foot), 0.999 * (THIGH + SHIN)))
    along = (reach**2 + THIGH**2 - SHIN**2) / (2.0 * reach)
    aside = sqrt(max(0.0, THIGH**2 - along**2))
    unit_x, unit_y = foot[0] / hypot(*foot), foot[1] / hypot(*foot)
    return along * unit_x + aside * unit_y, along * unit_y - aside * unit_x


class _Trunk:
    """A body at a hip position; its methods draw the parts, nearest last."""

    def __init__(self, looks: Looks, heading: int, hip: Point, lean: float) -> None:
        self._looks, self._heading, self._hip = looks, heading, hip
        self.shoulder: Point = (TORSO * sin(radians(lean)), -TORSO * cos(radians(lean)))
        self._lean = radians(lean)

    def point(self, ahead: Point) -> Point:
        """Pixels of a point relative to the hip, heading to the right, in body heights."""
        size = self._looks.height
        return self._hip[0] + self._heading * size * ahead[0], self._hip[1] + size * ahead[1]

    def leg(self, brush: Brush, knee: Point, ankle: Point, *, far: bool) -> None:
        size = self._looks.height
        colour = shade(self._looks.trousers, 0.75 if far else 1.0)
        toe = ankle[0] + 0.055, ankle[1] + 0.008
        brush.limb(self.point(ankle), self.point(toe), 0.045 * size, 0.035 * size, (35, 35, 40))
        brush.limb(self.point((0.0, 0.0)), self.point(knee), 0.11 * size, 0.08 * size, colour)
        brush.limb(self.point(knee), self.point(ankle), 0.08 * size, 0.05 * size, colour)

    def arm(self, brush: Brush, swing: float, elbow: float, *, far: bool) -> None:
        size = self._looks.height
        colour = shade(self._looks.top, 0.7 if far else 0.88)
        start = self.shoulder[0], self.shoulder[1] + 0.02
        bend = start[0] + UPPER_ARM * sin(swing), start[1] + UPPER_ARM * cos(swing)
        lower = swing + elbow
        hand = bend[0] + FOREARM * sin(lower), bend[1] + FOREARM * cos(lower)
        brush.limb(self.point(start), self.point(bend), 0.07 * size, 0.06 * size, colour)
        brush.limb(self.point(bend), self.point(hand), 0.055 * size, 0.04 * size, colour)
        brush.disc(self.point(hand), 0.026 * size, self._looks.skin)

    def body(self, brush: Brush) -> None:
        size, looks = self._looks.height, self._looks
        x, y = self.shoulder
        if looks.backpack:
            pack = self.point((x - 0.085, y + 0.06)), self.point((x - 0.095, y + 0.17))
            brush.limb(*pack, 0.1 * size, 0.11 * size, shade(looks.trousers, 1.4))
        neck = x + 0.05 * sin(self._lean), y - 0.05
        head = x + 0.10 * sin(self._lean) + 0.012, y - 0.105
        brush.limb(self.point((x, y)), self.point(neck), 0.06 * size, 0.06 * size, looks.skin)
        waist = self.point((0.0, -0.02))
        brush.limb(waist, self.point((x, y + 0.035)), 0.125 * size, 0.155 * size, looks.top)
        crown = self.point((head[0] - 0.014, head[1] - 0.012))
        brush.disc(crown, 0.06 * size, looks.hair, stretch=1.15)
        face = self.point((head[0] + 0.012, head[1] + 0.012))
        brush.disc(face, 0.046 * size, looks.skin, stretch=1.2)
