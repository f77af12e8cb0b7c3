"""What a training is at the end of an epoch, on disk: enough to go on as if nothing had happened.

Random numbers are not stored: each epoch derives its own from the seed, the stage and its number
(`diagnostics.fixed_noise`, `training_loop`), so the state is weights, Adam's moments and counts.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from engines.atomic import replacing
from engines.errors import DataError

StageName = Literal["pretrain", "joint", "train", "done"]
"""A GMFC-VAE goes through the first two, a model with one loss through `train` alone."""
Weights = dict[str, Tensor]


@dataclass
class TrainingState:
    """Where a stream's training stands.

    Attributes:
        stage: The stage that goes on.
        epoch: Epochs of that stage that are done.
        stale: Epochs since the held-out loss last fell.
        best_loss: Lowest held-out loss of the stage.
        best: Weights that gave it.
        model: Weights now; None before the first epoch.
        optimiser: Adam's state now; None at the start of a stage.
        scaler: Loss scale of float16 training; empty otherwise.
        components: K of the mixture (lower than asked where the data has fewer distinct vectors).
        history: One record for each epoch so far, as in `history.jsonl`.
    """

    stage: StageName = "pretrain"
    epoch: int = 0
    stale: int = 0
    best_loss: float = float("inf")
    best: Weights | None = None
    model: Weights | None = None
    optimiser: dict[str, Any] | None = None
    scaler: dict[str, Any] = field(default_factory=dict)
    components: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_stage(self, stage: StageName, model: Weights) -> None:
        """Start a stage from these weights, with a fresh optimiser."""
        self.stage, self.epoch, self.stale = stage, 0, 0
        self.best_loss, self.best = float("inf"), None
        self.model, self.optimiser, self.scaler = model, None, {}

    def save(self, path: Path) -> None:
        """Replace the checkpoint at `path`.

        Raises:
            CannotCreateError: The folder cannot be written, or the disk is full.
        """
        with replacing(path) as stream:
            torch.save(vars(self), stream)


def copy_weights(module: torch.nn.Module) -> Weights:
    """A copy of a module's weights and buffers on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def load_state(path: Path) -> TrainingState | None:
    """The state at `path`, or None where there is none yet.

    Raises:
        DataError: The file is not a checkpoint of this program.
    """
    fields = read_checkpoint(path)
    if fields is None:
        return None
    try:
        return TrainingState(**fields)
    except TypeError as error:
        raise _unreadable(path, error) from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The fields that were saved at `path`, tensors on the CPU; None where there is no file yet.

    Raises:
        DataError: The file is not a checkpoint of this program.
    """
    if not path.is_file():
        return None
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(fields, dict):
        raise _unreadable(path, TypeError(f"it holds a {type(fields).__name__}"))
    return fields


def _unreadable(path: Path, error: Exception) -> DataError:
    lines = str(error).splitlines() or [type(error).__name__]
    return DataError(
        f"the checkpoint cannot be read: {lines[0]}",
        where=str(path),
        mend="delete it; training then starts this stream again",
    )
