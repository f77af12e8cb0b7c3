"""What runs on the same data set need not do twice: their patches, and the training of a stream.

A folder is named by all that decides what lies in it. Nothing of a stream's statistics, weight or
test stride is part of that: rows of an ablation that differ only there train once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.atomic import write_bytes
from engines.model_spec import InputSpec
from trainer.checkpoint import load_state
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.remembered_answers import RememberedAnswers
from trainer.training_loop import CHECKPOINT_NAME, HISTORY_NAME


class SharedWork:
    """The folder of what is shared; whoever made it drops it when all runs are done."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def answers(self) -> RememberedAnswers:
        """Of frozen networks; counts from zero."""
        return RememberedAnswers(self._root / "answers")

    def patches(
        self, preset: Preset, inputs: Mapping[str, InputSpec], parts: Sequence[Sequence[NormalClip]]
    ) -> Path:
        """Folder of the patch stores that this recipe draws.

        Args:
            preset: Gives frame, gate, counts and seed.
            inputs: Inputs with the training stride, by stream name.
            parts: Clips that are fitted and those that are held out.
        """
        return self._root / f"patches-{_digest(_sample(preset, inputs, parts))}"

    def encoder(
        self, preset: Preset, name: str, spec: InputSpec, parts: Sequence[Sequence[NormalClip]]
    ) -> Path:
        """Folder of the training of one stream by this recipe; see `patches`."""
        training = {
            "sample": _sample(preset, {name: spec}, parts),
            "model": preset.model.model_dump(mode="json", exclude={"reconstruction"}),
            "training": preset.training.model_dump(mode="json", exclude={"prune"}),
            "em": preset.em.model_dump(mode="json"),
        }
        return self._root / f"encoder-{_digest(training)}"


def fetch_training(shared: Path, folder: Path) -> None:
    """Copy a training that is done into a run's stream folder, unless that run has its own.

    Raises:
        CannotCreateError: The folder cannot be written.
    """
    if (shared / CHECKPOINT_NAME).is_file() and not (folder / CHECKPOINT_NAME).is_file():
        _copy(shared, folder)


def offer_training(folder: Path, shared: Path) -> None:
    """Copy a run's training of a stream to the shared folder if it is done.

    Raises:
        CannotCreateError: The folder cannot be written.
    """
    state = load_state(folder / CHECKPOINT_NAME)
    if state is not None and state.stage == "done":
        _copy(folder, shared)


def _copy(source: Path, target: Path) -> None:
    """History first: a checkpoint stands for both."""
    for name in (HISTORY_NAME, CHECKPOINT_NAME):
        if not (target / name).is_file():
            write_bytes(target / name, (source / name).read_bytes())


def _sample(
    preset: Preset, inputs: Mapping[str, InputSpec], parts: Sequence[Sequence[NormalClip]]
) -> dict[str, Any]:
    return {
        "inputs": {name: spec.model_dump(mode="json") for name, spec in inputs.items()},
        "frame": preset.frame.model_dump(mode="json"),
        "gate": preset.gate.model_dump(mode="json"),
        "clips": [[clip.name for clip in clips] for clips in parts],
        "budgets": [preset.training.patches, preset.training.held_out_patches],
        "seed": preset.seed,
    }


def _digest(recipe: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
