"""How models of whole clips learn: one stage, judged by the same loss on held-out clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor, nn

from trainer.checkpoint import StageName
from trainer.diagnostics import to_unit_range
from trainer.distributed import Ranks
from trainer.learning import Examined, Model
from trainer.models.mnad import Mnad
from trainer.models.top_heavy import TopHeavy
from trainer.patch_store import PatchStore

_BATCH = 8


class MnadObjective(nn.Module):
    """Squared error of the frame, and the two losses of the memory.

    Args:
        model: Its memory is written by `write_memory`, with the queries of the step.
        compact: Weight of the compactness.
        separate: Weight of the separateness.
    """

    def __init__(self, model: Mnad, compact: float, separate: float) -> None:
        super().__init__()
        self.model = model
        self.weights = compact, separate

    def forward(self, clips: Tensor, noise: Tensor) -> Tensor:
        """(N, 2): of each clip. `noise` is not used."""
        del noise
        terms = self.model.terms(clips)
        if self.training:
            self.model.seen_queries = terms.queries.detach()
        memory = self.weights[0] * terms.compact + self.weights[1] * terms.separate
        return torch.stack([terms.pixel, memory], 1)


class TopHeavyObjective(nn.Module):
    """L_s + L_t, or L_s + L_s L_t for scheme `joint`."""

    def __init__(self, model: TopHeavy) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor, noise: Tensor) -> Tensor:
        """(N, 2): of each clip. `noise` is not used."""
        del noise
        terms = self.model(clips)
        joint = self.model.scheme == "joint"
        second = terms.spatial * terms.temporal if joint else terms.temporal
        return torch.stack([terms.spatial, second], 1)


def write_memory(model: Mnad, ranks: Ranks) -> None:
    """Write the memory with the queries of the last training step."""
    if model.seen_queries is not None:
        model.memory.write(model.seen_queries, ranks)
        model.seen_queries = None


def nothing_to_settle(model: nn.Module, ranks: Ranks) -> None:
    """For models that are changed by their gradients alone."""
    del model, ranks


@dataclass(frozen=True)
class ClipLearning(Generic[Model]):
    """Stage `train` alone; see `trainer.learning.Learning`.

    Attributes:
        build: The objective of a model.
        parts: Names of the two parts of its loss.
        after_step: What is done after each step, by every process.
    """

    build: Callable[[Model], nn.Module]
    parts: tuple[str, str]
    after_step: Callable[[Model, Ranks], None] = nothing_to_settle

    def objective(self, model: Model, stage: StageName) -> nn.Module:
        """What `build` makes."""
        del stage
        return self.build(model)

    def noise_size(self, model: Model) -> int:
        """None: nothing is drawn."""
        del model
        return 0

    def settle(self, model: Model, ranks: Ranks) -> None:
        """What `after_step` does."""
        self.after_step(model, ranks)

    @torch.no_grad()
    def examine(
        self,
        model: Model,
        stage: StageName,
        store: PatchStore,
        *,
        limit: int,
        seed: int,
        ranks: Ranks,
    ) -> Examined:
        """Judged by the loss; nothing is random, nothing is written into a memory."""
        del seed
        model.eval()
        objective = self.objective(model, stage).eval()
        sums = torch.zeros(3, dtype=torch.float64, device=ranks.device)
        for _, patches in store.ordered(batch=_BATCH, limit=limit, part=ranks.part):
            clips = to_unit_range(torch.from_numpy(patches), ranks.device)
            terms = objective(clips, clips.new_zeros(len(clips), 0)).double()
            sums[0] += len(clips)
            sums[1:] += terms.sum(0)
        model.train()
        count, first, second = ranks.sum(sums).cpu().tolist()
        names = self.parts
        loss = (first + second) / count
        return Examined(
            judged=loss,
            facts={"loss": loss, names[0]: first / count, names[1]: second / count},
            warnings=[],
        )

    def describe(self, record: dict[str, Any]) -> str:
        """The losses."""
        parts = ", ".join(f"{name} {record[f'train_{name}']:.5f}" for name in self.parts)
        return f"{parts}; held out {record['held_out']['loss']:.5f}"
