"""What the training of one stream's network begins with, whatever the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engines.model_spec import InputSpec
from trainer.distributed import Ranks
from trainer.learning import Learning, Model
from trainer.patch_store import PatchStore
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.training_loop import StreamTask


@dataclass(frozen=True)
class StreamTraining:
    """One stream to be trained, or to be gone on with.

    Attributes:
        fit: Training patches, or clips.
        held_out: Those of other clips of the footage: early stopping, and what is measured.
        preset: The recipe. Its seed decides the weights (on one machine with one number of
            threads).
        stream: Which of its streams.
        spec: The runtime's input, measured options included.
        folder: Checkpoint, history and network of this stream; kept by the caller between calls
            that shall go on, emptied by it otherwise.
        ranks: This process and the others.
        progress: Told about each epoch.
    """

    fit: PatchStore
    held_out: PatchStore
    preset: Preset
    stream: StreamPreset
    spec: InputSpec
    folder: Path
    ranks: Ranks
    progress: TrainingProgress = field(default_factory=SilentTraining)

    def task(self, model: Model, learning: Learning[Model]) -> StreamTask[Model]:
        """The same for the training loop, with what is trained and how."""
        return StreamTask(
            name=self.stream.name,
            model=model,
            learning=learning,
            fit=self.fit,
            held_out=self.held_out,
            settings=self.preset.training,
            seed=self.preset.seed,
            folder=self.folder,
            ranks=self.ranks,
            progress=self.progress,
        )
