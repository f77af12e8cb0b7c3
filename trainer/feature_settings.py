"""Sections of a preset for streams on features: the pretrained backbone, and its student."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.model_spec import Positive, Strict
from trainer.preset_sections import Rate


class FeaturePreset(Strict):
    """Streams whose features are not trained on the scene: what is looked at, and the mixture.

    Attributes:
        layers: Blocks of the backbone whose maps are averaged over the window, side by side.
        frames: Frames of normal footage whose windows are looked at, at most, evenly spread.
        mirrored: Learn each window with left and right exchanged too: who walked one way could walk
            the other. Which way is not the business of a look; see kind `direction`.
        components: Most components of the mixture; fewer if held-out likelihood says so.
        covariance: Of a component; "spherical" ones share one variance.
        samples: Windows that one mixture is fitted on, at most.
        folds: Groups of clips for energies out of sample.
    """

    layers: Annotated[tuple[Annotated[int, Field(ge=0, le=15)], ...], Field(min_length=1)] = (15,)
    frames: Positive = 6000
    mirrored: bool = False
    components: Positive = 1000
    covariance: Literal["spherical", "diag", "full"] = "spherical"
    samples: Positive = 40_000
    folds: Annotated[int, Field(ge=2)] = 4


class StudentPreset(Strict):
    """The network that imitates the backbone on this scene's windows and on strange things in it.

    Attributes:
        side: Side of the teacher's window in pixels; the student's is the stream's `patch`.
        filters: Output channels of its convolutions, each of stride 2.
        hidden: Width of the dense layer between them and the answer.
        frames: Frames of normal footage whose windows are taught, at most, evenly spread.
        variations: Strange windows made from them, see `trainer.variations`.
        epochs: Passes over all windows.
        batch: Windows a step.
        learning_rate: Peak of the one-cycle schedule of Adam.
    """

    side: Positive = 96
    filters: Annotated[tuple[Positive, ...], Field(min_length=1)] = (24, 48, 96)
    hidden: Positive = 128
    frames: Positive = 800
    variations: Annotated[int, Field(ge=0)] = 50_000
    epochs: Positive = 10
    batch: Positive = 128
    learning_rate: Rate = 2e-3
