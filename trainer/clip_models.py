"""Which model a stream of whole clips has, how it learns, and how its maps become one energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edge.inputs.cells import channels_of
from engines.model_spec import InputSpec, Option
from trainer.clip_learning import ClipLearning, MnadObjective, TopHeavyObjective, write_memory
from trainer.clip_settings import StagesPreset
from trainer.models.mnad import DOWN, Mnad
from trainer.models.top_heavy import CELL, TopHeavy
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset


@dataclass(frozen=True)
class ClipModel:
    """A model and what belongs to it.

    Attributes:
        model: With `score_maps`: clips -> N x J x rows x columns.
        learning: What it minimises.
        length: Of its one stage.
        frames: Newest pictures of a clip that the score needs; the device keeps so many.
        channels: Of a picture.
        cell: Pixels of the picture along one side of a cell of the map.
        weights: Of the J maps in the energy, after each was standardised on normal footage.
        options: Of the head.
    """

    model: nn.Module
    learning: ClipLearning[Any]
    length: StagesPreset
    frames: int
    channels: int
    cell: int
    weights: tuple[float, ...]
    options: Mapping[str, Option] = field(default_factory=dict)

    def newest(self, clips: Tensor) -> Tensor:
        """The part of N x (frames x channels) x H x W that the score needs."""
        return clips[:, -self.frames * self.channels :]

    def runtime_input(self, spec: InputSpec) -> InputSpec:
        """The device's input: the training's with as many frames as the score needs."""
        return spec.model_copy(update={"options": {**spec.options, "frames": self.frames}})


class ScoreMaps(nn.Module):
    """What the exported graph contains: newest pictures in [0, 1] -> N x J x rows x columns."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        """N x (frames x channels) x side x side, oldest picture first."""
        maps: Tensor = self.model.score_maps(clips)  # type: ignore[operator]  # nn.Module attributes are untyped
        return maps


def build_clip_model(preset: Preset, stream: StreamPreset, *, seed: int) -> ClipModel:
    """A model with random weights that depend on the seed and the stream's name alone.

    Raises:
        ValueError: Numbers of the preset that do not go together.
    """
    with torch.random.fork_rng(devices=[]):
        name = int.from_bytes(stream.name.encode()[:4], "little")
        torch.manual_seed((seed * 0x1000003) ^ name)
        return (_mnad if stream.encoder == "mnad" else _top_heavy)(preset, stream)


def _mnad(preset: Preset, stream: StreamPreset) -> ClipModel:
    settings = preset.mnad
    channels, frames = _pictures(stream)
    model = Mnad(
        variant=settings.variant,
        frames=frames - 1 if settings.variant == "prediction" else frames,
        channels=channels,
        widths=settings.widths,
        items=settings.items,
    )
    return ClipModel(
        model=model,
        learning=ClipLearning(
            lambda model: MnadObjective(model, settings.compact, settings.separate),
            ("pixel", "memory"),
            write_memory,
        ),
        length=settings.train,
        frames=frames,
        channels=channels,
        cell=DOWN,
        weights=(settings.streaming_error_weight, 1.0 - settings.streaming_error_weight),
    )


def _top_heavy(preset: Preset, stream: StreamPreset) -> ClipModel:
    settings = preset.top_heavy
    channels, frames = _pictures(stream)
    if channels != 1:
        raise ValueError("this auto-encoder sees grey pictures: set option grey")
    model = TopHeavy(
        frames=frames, design=settings.design, widths=settings.widths, scheme=settings.scheme
    )
    squared = settings.scheme == "distil"
    temporal = settings.temporal_weight
    return ClipModel(
        model=model,
        learning=ClipLearning(TopHeavyObjective, ("spatial", "temporal")),
        length=settings.train,
        frames=model.scored_frames,
        channels=channels,
        cell=CELL,
        weights=(-1.0, 1.0) if squared else (1.0 - temporal, temporal),
        options={"square": True} if squared else {},
    )


def _pictures(stream: StreamPreset) -> tuple[int, int]:
    """(channels of a picture, pictures of a clip) of the training."""
    frames = int(stream.options.get("frames", 1))
    return channels_of(stream.test_input()) // frames, frames
