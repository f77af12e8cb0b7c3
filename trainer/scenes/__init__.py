"""Rendered fixed-camera scenes with known ground truth.

`render_scene` writes a data set that `trainer.datasets.open_dataset` reads. It must not know of
models, training or scores.
"""

from trainer.scenes.conditions import CONDITIONS, Conditions
from trainer.scenes.kinds import KINDS
from trainer.scenes.render import SceneTruth, TrueEvent, render_scene
from trainer.scenes.scene_for import scene_for
from trainer.scenes.settings import SceneSettings

__all__ = [
    "CONDITIONS",
    "KINDS",
    "Conditions",
    "SceneSettings",
    "SceneTruth",
    "TrueEvent",
    "render_scene",
    "scene_for",
]
