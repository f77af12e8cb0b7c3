"""Synthetic anomalies with pixel truth, made from a scene's own normal footage.

They tell how far each score can be trusted in a scene, and which constants to choose, before any
test clip is seen. This room must not know of models, training or scores.
"""

from trainer.synthetic.clip import SyntheticClip
from trainer.synthetic.compose import SyntheticSet, make_synthetic_clips
from trainer.synthetic.kinds import KINDS

__all__ = ["KINDS", "SyntheticClip", "SyntheticSet", "make_synthetic_clips"]
