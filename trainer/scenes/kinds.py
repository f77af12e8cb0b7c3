"""The kinds of anomalies, as a table.

To add one, write its painter (a class with `draw`) and its stage, a function that decides one act:
who comes, when it is an event, and what it makes of the others. Enter the stage here.
"""

from __future__ import annotations

import numpy as np

from trainer.scenes.acts import Stage, crosses, passes_near, turns_back
from trainer.scenes.animal import Dog
from trainer.scenes.figure import RUN
from trainer.scenes.incidents import crawls, crouches, falls, leaves_bag, loiters
from trainer.scenes.panic import panics
from trainer.scenes.people import RUNNING_SPEED, WALKING_SPEED, Person
from trainer.scenes.throw import is_thrown
from trainer.scenes.vehicles import Cart, Cyclist


def _runner(rng: np.random.Generator, body_px: float) -> Person:
    return Person(rng, body_px, RUN)


KINDS: dict[str, Stage] = {
    # Things that do not belong there.
    "cyclist": crosses(Cyclist, (51.0, 63.0)),
    "cart": crosses(Cart, (26.0, 34.0)),
    "dog": crosses(Dog, (32.0, 42.0)),
    "left_bag": leaves_bag,
    "thrown": is_thrown,
    # People where or as they do not go.
    "running": crosses(_runner, RUNNING_SPEED),
    "wrong_way": turns_back(Person, WALKING_SPEED),
    "loitering": loiters,
    "near_camera": passes_near,
    # Postures.
    "falling": falls,
    "crawling": crawls,
    "crouching": crouches,
    # The whole scene.
    "panic": panics,
}
