"""Sections of a preset for networks of whole clips; see `trainer.models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.model_spec import Positive, Strict
from trainer.preset_sections import NotNegative, UpToOne

Widths = tuple[Positive, Positive, Positive, Positive]


class StagesPreset(Strict):
    """At most `epochs`; ends early when held-out loss has not fallen `patience` times."""

    epochs: Annotated[int, Field(ge=1)] = 60
    patience: Positive = 60


class MnadPreset(Strict):
    """Park et al. 2020; the defaults are the paper's, where it and the authors' program agree.

    Attributes:
        variant: "prediction": the frames before give the newest one; "reconstruction": the newest
            one gives itself.
        widths: Channels of the four stages.
        items: Of the memory.
        compact: Weight of the compactness; 0.1 for prediction, 0.01 for reconstruction.
        separate: Weight of the separateness; the same.
        error_weight: Share of the prediction error in the paper's score of a whole clip, the rest
            is the distance to the nearest item; 0.6 for prediction, 0.7 for reconstruction.
        streaming_error_weight: The same in the score of a device, which cannot normalise by clip.
            Not the paper's: see preset `mnad`.
        train: Length of the training.
    """

    variant: Literal["prediction", "reconstruction"] = "prediction"
    widths: Widths = (64, 128, 256, 512)
    items: Annotated[int, Field(ge=2)] = 10
    compact: NotNegative = 0.1
    separate: NotNegative = 0.1
    error_weight: UpToOne = 0.6
    streaming_error_weight: UpToOne = 1.0
    train: StagesPreset = StagesPreset()


class TopHeavyPreset(Strict):
    """The Top-Heavy auto-encoder; every number is this project's, see `trainer.models.top_heavy`.

    Attributes:
        design: Which layers are 3-D: the highest, all, or none.
        widths: Channels of the four layers.
        scheme: "plain": L_s + L_t; "joint": two networks, L_s (1 + L_t); "distil": trained as
            plain, scored by the squared difference of the two errors.
        temporal_weight: Share of the temporal error in the score, the rest is the spatial one;
            without a part in "distil".
        train: Length of the training.
    """

    design: Literal["top-heavy", "all-3d", "all-2d"] = "top-heavy"
    widths: Widths = (64, 64, 64, 64)
    scheme: Literal["plain", "joint", "distil"] = "plain"
    temporal_weight: UpToOne = 1.0
    train: StagesPreset = StagesPreset()
