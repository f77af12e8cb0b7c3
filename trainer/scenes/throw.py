"""A ball or a stone that flies through the picture."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np

from trainer.scenes.actor import Actor
from trainer.scenes.acts import Act, lane_and_foot
from trainer.scenes.ground import scale_at
from trainer.scenes.people import BODY_PX
from trainer.scenes.route import Throw
from trainer.scenes.settings import SceneSettings
from trainer.scenes.things import Missile

GRAVITY = 260.0  # px/s^2 at the reference height and scale 1, where 45 px are 1.7 m
_APEX = (1.1, 1.6)  # above the hand, body heights
_LANDS_AT = (0.55, 0.8)  # share of the picture's width from where it comes in


def is_thrown(rng: np.random.Generator, settings: SceneSettings) -> Act:
    """Somebody outside the picture throws a ball or a stone in; it bounces and rolls out."""
    lane, foot_y = lane_and_foot(rng, settings)
    scale = scale_at(settings, foot_y)
    body, gravity = BODY_PX * scale, GRAVITY * scale
    stone = bool(rng.random() < 0.5)
    missile = Missile(rng, body, stone=stone)
    hand, apex = 0.9 * body, float(rng.uniform(*_APEX)) * body
    flight_s = sqrt(2.0 * apex / gravity) + sqrt(2.0 * (apex + hand) / gravity)
    way = float(rng.uniform(*_LANDS_AT)) * settings.width
    route = Throw(
        start_s=0.0,
        start_x=-missile.half_width if lane.heading > 0 else settings.width + missile.half_width,
        foot_y=foot_y,
        hand=hand,
        speed=way / flight_s,
        rise=sqrt(2.0 * gravity * apex),
        gravity=gravity,
        heading=lane.heading,
        bounce=0.3 if stone else 0.6,
        slide=0.7 if stone else 0.8,
    )
    event_s = route.end_s(settings.width + 2.0 * missile.half_width)
    return Act((Actor(missile, route, -inf, from_s=0.0),), 0.0, event_s)
