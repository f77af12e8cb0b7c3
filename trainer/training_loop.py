"""One stage of training, epoch by epoch, of any model that a `Learning` describes.

Every random choice is a function of (seed, stage, epoch, step), and every quantity that decides
something is summed over all processes: a run that was killed and resumed, or shared by several
processes, follows the same curve as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from engines.atomic import write_text
from engines.errors import InternalError
from trainer.checkpoint import StageName, TrainingState, copy_weights
from trainer.diagnostics import fixed_noise, to_unit_range
from trainer.distributed import Ranks
from trainer.learning import Examined, Learning, Model
from trainer.objectives import adam, choose_precision
from trainer.patch_store import PatchStore
from trainer.preset_sections import StagePreset, TrainingPreset
from trainer.progress import TrainingProgress

CHECKPOINT_NAME = "checkpoint.pt"
HISTORY_NAME = "history.jsonl"
# Points of the loss curve that one epoch leaves in the history at most.
_CURVE_POINTS = 50
_NOTE_EVERY = 20
_STAGE_NUMBER = {"pretrain": 1, "joint": 2, "train": 3}


@dataclass(frozen=True)
class StreamTask(Generic[Model]):
    """What is trained, how, on what, and where its files go."""

    name: str
    model: Model
    learning: Learning[Model]
    fit: PatchStore
    held_out: PatchStore
    settings: TrainingPreset
    seed: int
    folder: Path
    ranks: Ranks
    progress: TrainingProgress


def run_stage(
    task: StreamTask[Model], stage: StageName, length: StagePreset, state: TrainingState
) -> None:
    """Train until `length` is used up; afterwards the model has the best weights of the stage.

    The state is saved after each epoch, with the history as JSON lines beside it.

    Raises:
        InternalError: The loss is no number any more.
        CannotCreateError: The run folder cannot be written.
    """
    trainer = _StageTrainer(task, stage, length, state)
    while state.epoch < length.epochs and state.stale < length.patience:
        began = time.monotonic()
        curve = trainer.epoch(state.epoch)
        held = _examine(task, stage)
        state.epoch += 1
        judged = task.ranks.share(held.judged)
        state.stale = 0 if judged < state.best_loss else state.stale + 1
        if not state.stale:
            state.best_loss, state.best = judged, copy_weights(task.model)
        seconds = time.monotonic() - began
        state.history.append(_record(task, stage, state.epoch, curve, held, seconds))
        trainer.store(state)
        save(task, state)
        task.progress.say(_line(task, state.history[-1], length))
    if state.best is not None:
        task.model.load_state_dict(state.best)


def save(task: StreamTask[Model], state: TrainingState) -> None:
    """Write checkpoint and history (rank 0); the others wait."""
    if task.ranks.first:
        state.save(task.folder / CHECKPOINT_NAME)
        lines = "".join(json.dumps(record) + "\n" for record in state.history)
        write_text(task.folder / HISTORY_NAME, lines)
    task.ranks.wait()


class _StageTrainer(Generic[Model]):
    """Objective, optimiser and loss scale of one stage."""

    def __init__(
        self, task: StreamTask[Model], stage: StageName, length: StagePreset, state: TrainingState
    ) -> None:
        self._task = task
        self._length = length
        self._stage = _STAGE_NUMBER[stage]
        self._batch = min(task.settings.batch, task.fit.count)
        self._steps = task.fit.count // self._batch
        rise = task.settings.kl_warm_up * length.epochs * self._steps
        self._rise = rise if stage == "joint" else 0.0
        if state.model is not None:
            task.model.load_state_dict(state.model)
        objective = task.learning.objective(task.model, stage)
        self._parameters = list(objective.parameters())
        self._optimiser = adam(objective, task.settings)
        if state.optimiser is not None:
            self._optimiser.load_state_dict(state.optimiser)
        self._precision = choose_precision(task.settings.precision, task.ranks.device)
        self._scaler = torch.amp.GradScaler(
            task.ranks.device.type, enabled=self._precision.scales_loss
        )
        if state.scaler:
            self._scaler.load_state_dict(state.scaler)
        self._objective = task.ranks.wrap(objective)

    def epoch(self, number: int) -> dict[str, Any]:
        """Train one epoch; returns the means of its steps and the loss curve."""
        task = self._task
        task.model.train()
        self._set_rate(number)
        # Columns: loss and its two parts; the norm is the same on all processes.
        sums = torch.zeros(self._steps, 3, dtype=torch.float64, device=task.ranks.device)
        norms = torch.zeros(self._steps, dtype=torch.float64, device=task.ranks.device)
        order = np.random.default_rng([task.seed, self._stage, number])
        batches = task.fit.shuffled(order, batch=self._batch, part=task.ranks.part)
        task.progress.begin(f"{task.name}: epoch {number + 1}", total=self._steps)
        for step, (place, patches) in enumerate(batches):
            weight = self._kl_weight(number * self._steps + step)
            sums[step], norms[step] = self._step(number, step, place, patches, weight)
            if step % _NOTE_EVERY == _NOTE_EVERY - 1:
                share = (place.stop - place.start) / self._batch
                note = f"loss {float(sums[step, 0]) / share:.4g}"
                task.progress.advance(_NOTE_EVERY, note=note)
        task.progress.end()
        means = task.ranks.sum(sums).cpu()
        if not bool(torch.isfinite(means).all()):
            first = int((~torch.isfinite(means).all(1)).nonzero()[0, 0])
            raise InternalError(
                f"the loss of stream {task.name!r} is no number from step {first + 1} "
                f"of epoch {number + 1} on",
                mend="set training.learning_rate lower, or training.precision=float32",
            )
        one, other = task.learning.parts
        return {
            "train_loss": float(means[:, 0].mean()),
            f"train_{one}": float(means[:, 1].mean()),
            f"train_{other}": float(means[:, 2].mean()),
            "kl_weight": self._kl_weight((number + 1) * self._steps - 1),
            "gradient_norm": float(norms.mean()),
            "curve": [float(part.mean()) for part in _pieces(means[:, 0])],
        }

    def store(self, state: TrainingState) -> None:
        """Put weights and optimiser into the state."""
        state.model = copy_weights(self._task.model)
        state.optimiser = self._optimiser.state_dict()
        state.scaler = self._scaler.state_dict()

    def _set_rate(self, epoch: int) -> None:
        """The learning rate of an epoch: a function of its number, so that a resumed run has it."""
        if self._task.settings.schedule == "constant":
            return
        share = 0.5 * (1.0 + math.cos(math.pi * epoch / max(1, self._length.epochs)))
        for group in self._optimiser.param_groups:
            group["lr"] = self._task.settings.learning_rate * share

    def _kl_weight(self, step: int) -> float:
        return min(1.0, (step + 1) / self._rise) if self._rise > 0 else 1.0

    def _step(
        self,
        epoch: int,
        step: int,
        place: slice,
        patches: np.ndarray[Any, np.dtype[np.uint8]],
        kl_weight: float,
    ) -> tuple[Tensor, Tensor]:
        """One update; returns this process' part of (loss, its parts), and the norm."""
        task, device = self._task, self._task.ranks.device
        size = task.learning.noise_size(task.model)
        noise = fixed_noise((self._batch, size), task.seed, self._stage, epoch, step)[place]
        x = to_unit_range(torch.from_numpy(patches), device)
        dtype = self._precision.dtype
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            terms = self._objective(x, noise.to(device))
        loss = (terms[:, 0] + kl_weight * terms[:, 1]).sum() / self._batch
        self._optimiser.zero_grad(set_to_none=True)
        # Gradients are averaged over the processes: times their number, that is the sum.
        self._scaler.scale(loss * task.ranks.world).backward()
        self._scaler.unscale_(self._optimiser)
        norm = clip_grad_norm_(self._parameters, task.settings.gradient_clip or math.inf)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        task.learning.settle(task.model, task.ranks)
        parts = terms.detach().double().sum(0) / self._batch
        return torch.cat([loss.detach().double()[None], parts]), norm.double()


def _examine(task: StreamTask[Model], stage: StageName) -> Examined:
    return task.learning.examine(
        task.model,
        stage,
        task.held_out,
        limit=task.settings.held_out_patches,
        seed=task.seed,
        ranks=task.ranks,
    )


def _pieces(values: Tensor) -> tuple[Tensor, ...]:
    return torch.chunk(values, min(_CURVE_POINTS, len(values)))


def _record(
    task: StreamTask[Model],
    stage: StageName,
    epoch: int,
    curve: dict[str, Any],
    held: Examined,
    seconds: float,
) -> dict[str, Any]:
    batch = min(task.settings.batch, task.fit.count)
    return {
        "stream": task.name,
        "stage": stage,
        "epoch": epoch,
        **curve,
        "held_out": held.facts,
        "warnings": held.warnings,
        "seconds": seconds,
        "patches_per_second": task.fit.count // batch * batch / seconds,
    }


def _line(task: StreamTask[Model], record: dict[str, Any], length: StagePreset) -> str:
    start = f"{record['stream']} {record['stage']} {record['epoch']}/{length.epochs}:"
    body = task.learning.describe(record)
    warned = "".join(f"; WARNING: {text}" for text in record["warnings"])
    return f"{start} {body} ({record['patches_per_second']:.0f} patches/s){warned}"
