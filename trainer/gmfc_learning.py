"""How a GMFC-VAE learns: as an auto-encoder first, then jointly by Eq. (14)."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from trainer.checkpoint import StageName
from trainer.diagnostics import examine
from trainer.distributed import Ranks
from trainer.learning import Examined
from trainer.models.gmfc_vae import GmfcVae
from trainer.objectives import JointObjective, PretrainObjective
from trainer.patch_store import PatchStore


class GmfcLearning:
    """Stages `pretrain` and `joint`; see `trainer.learning.Learning`."""

    parts = ("reconstruction", "kl")

    def objective(self, model: GmfcVae, stage: StageName) -> nn.Module:
        """The auto-encoder, or Eq. (14)."""
        return (JointObjective if stage == "joint" else PretrainObjective)(model)

    def noise_size(self, model: GmfcVae) -> int:
        """One number for each latent dimension."""
        return int(model.prior.means.shape[1])

    def settle(self, model: GmfcVae, ranks: Ranks) -> None:
        """Keep the mixture inside its limits."""
        del ranks
        model.prior.project_()

    def examine(
        self,
        model: GmfcVae,
        stage: StageName,
        store: PatchStore,
        *,
        limit: int,
        seed: int,
        ranks: Ranks,
    ) -> Examined:
        """Judged by the loss, before that by the squared error; with signs of a collapse."""
        held = examine(model, store, limit=limit, seed=seed, ranks=ranks)
        joint = stage == "joint"
        return Examined(
            judged=held.loss if joint else held.squared_error,
            facts=dataclasses.asdict(held),
            warnings=held.warnings(len(model.prior.logits), joint=joint),
        )

    def describe(self, record: dict[str, Any]) -> str:
        """Losses, and how many components and dimensions are in use."""
        held = record["held_out"]
        if record["stage"] == "pretrain":
            return (
                f"squared error {record['train_loss']:.3f} a patch, "
                f"held out {held['squared_error']:.5f} a pixel"
            )
        return (
            f"loss {record['train_loss']:.1f}, held out {held['loss']:.1f} "
            f"(KL {held['kl']:.1f}), {held['effective_components']:.1f} effective components, "
            f"{held['active_units']} active dimensions"
        )
