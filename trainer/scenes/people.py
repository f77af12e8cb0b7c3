"""People as actors: on foot, and in postures that are not walking."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from trainer.scenes.brush import Brush
from trainer.scenes.figure import WALK, Gait, Looks, draw_walker, random_looks
from trainer.scenes.posture import Pose, blend, draw_posed
from trainer.scenes.route import Place

WALKING_SPEED = (12.0, 22.0)  # px per second at the reference height and scale 1
RUNNING_SPEED = (38.0, 46.0)
BODY_PX = 45.0  # mean height of a person there


class Person:
    """A person on foot, about `body_px` px tall."""

    def __init__(self, rng: np.random.Generator, body_px: float, gait: Gait = WALK) -> None:
        self.looks: Looks = random_looks(rng, body_px)
        self.gait = gait
        self.phase = float(rng.random())
        self.half_width = 0.6 * body_px

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        draw_walker(brush, self.looks, self.gait, place, self.phase)

    def going_on(self, gait: Gait, travelled: float) -> Person:
        """The same person with another gait, its limbs where they are now.

        Args:
            gait: From now on.
            travelled: Way that it has come so far, px; counted from 0 again from now on.
        """
        other = copy(self)
        other.phase = self.phase + travelled / self.gait.cycle_px(self.looks.height)
        other.gait = gait
        return other


@dataclass
class Posed:
    """A person that takes postures in turn: `Place.progress` 0 is the first, 1 the second...

    Attributes:
        looks: Clothing and size.
        poses: Two or more.
    """

    looks: Looks
    poses: tuple[Pose, ...]

    @property
    def half_width(self) -> float:
        """See `Painter.half_width`."""
        return 1.2 * self.looks.height

    def draw(self, brush: Brush, place: Place) -> None:
        """See `Painter.draw`."""
        number = min(int(place.progress), len(self.poses) - 2)
        share = place.progress - number
        eased = share * share * (3.0 - 2.0 * share)
        pose = blend(self.poses[number], self.poses[number + 1], eased)
        draw_posed(brush, self.looks, pose, place)
