"""Numbers over the held-out patches of one epoch: the loss, and what would show a collapse.

Known ways to collapse: every patch in one component, or gamma uniform; latent dimensions that carry
nothing; a component that shrinks onto near-identical patches. Each has a number here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.distributed import Ranks
from trainer.models.gmfc_vae import GmfcVae
from trainer.patch_store import PatchStore

# A latent dimension is in use if its mean varies by more than this over the data.
ACTIVE_VARIANCE = 0.01
_BATCH = 250


@dataclass(frozen=True)
class HeldOut:
    """Means over held-out patches; energies and losses in nats.

    Attributes:
        loss: Eq. (14) with full weight of the KL part, one fixed noise for all epochs.
        reconstruction: Its first part, R.
        kl: Its second part.
        squared_error: Mean squared error of a pixel, decoded from mu~.
        effective_components: exp of the entropy of the mean gamma, 1 .. K.
        gamma_entropy: Mean entropy of gamma, 0 (sure) .. log K (uniform).
        active_units: Latent dimensions in use.
        smallest_log_variance: Of any component and dimension.
        at_floor: Component variances that lie at their floor.
        energy_mean: Mean of Eq. (17) at z = mu~.
        energy_min: Smallest of them.
    """

    loss: float
    reconstruction: float
    kl: float
    squared_error: float
    effective_components: float
    gamma_entropy: float
    active_units: int
    smallest_log_variance: float
    at_floor: int
    energy_mean: float
    energy_min: float

    def warnings(self, components: int, *, joint: bool) -> list[str]:
        """What looks collapsed, in words; the mixture is only judged in the joint stage."""
        found = []
        if self.active_units < 2:
            found.append(f"only {self.active_units} latent dimension(s) in use")
        if joint and components > 1:
            if self.effective_components < 1.5:
                found.append(
                    f"one component holds nearly all patches "
                    f"(effective {self.effective_components:.2f} of {components})"
                )
            if self.gamma_entropy > 0.95 * math.log(components):
                found.append("responsibilities are uniform: the mixture separates nothing")
        return found


@torch.no_grad()
def examine(model: GmfcVae, store: PatchStore, *, limit: int, seed: int, ranks: Ranks) -> HeldOut:
    """Measure a model on at most `limit` patches, spread evenly; the same on every process."""
    model.eval()
    prior = model.prior
    components, latent = prior.means.shape
    # One row of sums: count, R, kl, squared error, entropy of gamma, energy; gamma; mu~; mu~^2.
    sums = torch.zeros(6 + components + 2 * latent, dtype=torch.float64, device=ranks.device)
    lowest = torch.tensor(math.inf, dtype=torch.float64, device=ranks.device)
    for indices, patches in store.ordered(batch=_BATCH, limit=limit, part=ranks.part):
        x = to_unit_range(torch.from_numpy(patches), ranks.device)
        noise = fixed_noise((len(indices), latent), seed, int(indices[0])).to(ranks.device)
        terms = model.terms(x, noise)
        mean = model.encoder(x)
        error = (x - model.decoder(mean)).square().flatten(1).mean(1)
        log_gamma = prior.log_responsibilities(mean)
        gamma = log_gamma.exp()
        energy = prior.energy(mean).double()
        columns = [
            torch.ones_like(energy),
            terms.reconstruction,
            terms.kl,
            error,
            -(gamma * log_gamma).sum(1),
            energy,
        ]
        sums[:6] += torch.stack([column.double().sum() for column in columns])
        sums[6 : 6 + components] += gamma.double().sum(0)
        sums[6 + components : 6 + components + latent] += mean.double().sum(0)
        sums[6 + components + latent :] += mean.double().square().sum(0)
        lowest = torch.minimum(lowest, energy.min())
    model.train()
    return _summary(ranks.sum(sums), float(ranks.minimum(lowest)), model)


def to_unit_range(patches: Tensor, device: torch.device) -> Tensor:
    """Uint8 N x side x side x 3 -> float32 N x 3 x side x side in [0, 1], channels last.

    Bytes travel to the device, not floats; the permuted view already has the memory order that
    the convolutions want, so nothing is copied but the conversion itself.
    """
    moved = patches.to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def fixed_noise(shape: tuple[int, int], *key: int) -> Tensor:
    """Standard normal numbers that depend on the key alone, float32 on the CPU."""
    seed = 0
    for part in key:  # a hash of the key; constants of the 64-bit FNV-1a hash
        seed = ((seed ^ (part + 0x9E3779B9)) * 0x100000001B3 + 0xCBF29CE484222325) % (1 << 63)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _summary(sums: Tensor, lowest: float, model: GmfcVae) -> HeldOut:
    prior = model.prior
    components, latent = prior.means.shape
    sums = sums.cpu()
    count = float(sums[0])
    means = sums / count
    gamma = means[6 : 6 + components]
    centre = means[6 + components : 6 + components + latent]
    variance = means[6 + components + latent :] - centre.square()
    at_floor = (prior.log_variances <= prior.floor + 1e-4).sum()
    return HeldOut(
        loss=float(means[1] + means[2]),
        reconstruction=float(means[1]),
        kl=float(means[2]),
        squared_error=float(means[3]),
        effective_components=float(torch.exp(torch.special.entr(gamma).sum())),
        gamma_entropy=float(means[4]),
        active_units=int((variance > ACTIVE_VARIANCE).sum()),
        smallest_log_variance=float(prior.log_variances.min()),
        at_floor=int(at_floor),
        energy_mean=float(means[5]),
        energy_min=lowest,
    )
