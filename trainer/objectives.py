"""What each stage minimises, with which optimiser and in which number format."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.models.gmfc_vae import GmfcVae, squared_error
from trainer.preset_sections import TrainingPreset


class PretrainObjective(nn.Module):
    """The auto-encoder: C1-C4, F5 and the decoder; nothing else gets a gradient."""

    def __init__(self, model: GmfcVae) -> None:
        super().__init__()
        self.trunk = model.encoder.trunk
        self.mean = model.encoder.mean
        self.decoder = model.decoder

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """(N, 2): the sum of squared errors of each patch, and 0. `noise` is not used."""
        del noise
        rebuilt = self.decoder(self.mean(self.trunk(x)).flatten(1))
        error = squared_error(x, rebuilt)
        return torch.stack([error, torch.zeros_like(error)], 1)


class JointObjective(nn.Module):
    """The whole model under Eq. (14)."""

    def __init__(self, model: GmfcVae) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """(N, 2): R and the KL part of each patch, in nats."""
        terms = self.model.terms(x, noise)
        return torch.stack([terms.reconstruction, terms.kl], 1)


@dataclass(frozen=True)
class Precision:
    """Number format of the convolutions; losses are float32 always."""

    dtype: torch.dtype | None
    """None: float32 throughout."""

    @property
    def scales_loss(self) -> bool:
        """float16 needs its loss scaled, or small gradients vanish."""
        return self.dtype == torch.float16


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """The format for a device: a CPU gains little from bfloat16 and keeps float32 unless told."""
    if wanted == "bfloat16":
        return Precision(torch.bfloat16)
    if wanted == "float32" or device.type != "cuda":
        return Precision(None)
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(torch.bfloat16 if native else torch.float16)


def adam(objective: nn.Module, settings: TrainingPreset) -> torch.optim.Adam:
    """Coupled L2 on convolution weights only (A18): not on biases, not on the mixture."""
    parameters = list(objective.parameters())
    decayed = [p for p in parameters if p.ndim == 4]
    others = [p for p in parameters if p.ndim != 4]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.Adam(groups, lr=settings.learning_rate, betas=(0.9, 0.999))
