"""What the builders of streams share: recipe, footage, folders, machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engines.model_spec import InputSpec
from trainer.clip_split import ClipSplit
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.progress import TrainingProgress
from trainer.run_directory import RunDirectory
from trainer.stream_parts import StreamParts


@dataclass(frozen=True)
class Build:
    """What every builder may use.

    Attributes:
        preset: The recipe.
        split: Footage; the threshold's part is not touched.
        run: Where work is kept; a builder that finds its own there goes on from it.
        threads: CPU threads.
        device: Where networks are trained.
        progress: Told about the steps.
        cache: Folder of features that runs on the same data set share; None: the run's own.
        trained: Parts of the streams that all processes have trained together, by stream name.
    """

    preset: Preset
    split: ClipSplit
    run: RunDirectory
    threads: int
    device: torch.device
    progress: TrainingProgress
    cache: Path | None = None
    trained: Mapping[str, StreamParts] = field(default_factory=dict)


Builder = Callable[[StreamPreset, InputSpec, Build], StreamParts]
"""A stream and its input at the runtime's stride, measured options included, to its parts."""
