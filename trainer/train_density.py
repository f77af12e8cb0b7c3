"""Denoising score matching: from features of normal footage to a log-density network."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engines.errors import DataError, InternalError
from trainer.mixture_choice import POINTS_PER_COMPONENT
from trainer.models.log_density import (
    DensityNetwork,
    LogDensity,
    Standardiser,
    draw_noise,
    matching_loss,
    noise_levels,
)
from trainer.models.radial_density import RadialDensity
from trainer.preset_sections import DensityPreset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.spherical_mixture import fit_spherical

Points = NDArray[np.float32]

# Of Adam. The authors' are (0.5, 0.9); a longer memory ranks a known density a little better.
_BETAS = (0.9, 0.99)
_HELD_OUT_BATCH = 2048


@dataclass(frozen=True)
class TrainedDensity:
    """The network with the lowest held-out loss, and the loss of every epoch: (fit, held out)."""

    model: DensityNetwork
    history: tuple[tuple[float, float], ...]


def train_density(
    fit: Points,
    held_out: Points,
    *,
    settings: DensityPreset,
    seed: int,
    device: torch.device,
    name: str = "density",
    progress: TrainingProgress | None = None,
) -> TrainedDensity:
    """Fit f(x, s) on features of normal footage.

    The held-out loss is taken under the same noise after every epoch, so that epochs compare; the
    training ends when it has not fallen `patience` times.

    Args:
        fit: float32 (N, D), finite.
        held_out: float32 (M, D) of other footage.
        settings: The recipe.
        seed: Same seed, same network on one machine with one number of threads.
        device: Where it is trained; the result lies on the CPU.
        name: For the progress.
        progress: Told about each epoch.

    Raises:
        DataError: Fewer than two vectors, or numbers that are not finite.
        InternalError: The loss is no number any more.
    """
    progress = progress or SilentTraining()
    finite = np.isfinite(fit).all() and np.isfinite(held_out).all()
    if min(len(fit), len(held_out)) < 2 or not finite:
        raise DataError(
            f"a density needs finite feature vectors, found {len(fit)} to learn from and "
            f"{len(held_out)} held out",
            mend="give footage with movement",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_density(fit, settings, seed).to(device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        points = model.standardiser(torch.from_numpy(fit).to(device))
        others = model.standardiser(torch.from_numpy(held_out).to(device))
    fixed = draw_noise(
        len(others), others.shape[1], model.noise, torch.Generator().manual_seed(seed + 1)
    )
    batch = min(settings.batch, len(points))
    steps = settings.epochs * (len(points) // batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, best_loss, waited = copy.deepcopy(model.state_dict()), math.inf, 0
    history = []
    progress.begin(f"{name}: score matching", total=settings.epochs)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(points), generator=generator)
        total = 0.0
        for start in range(0, len(order) - batch + 1, batch):
            x = points[order[start : start + batch].to(device)]
            noise, direction = draw_noise(len(x), x.shape[1], model.noise, generator)
            # A noise and its opposite: what is the same on both sides of a point is no slope, and
            # at small levels it is nearly all of the gradient's variance.
            x, noise = x.repeat(2, 1), noise.repeat(2, 1)
            direction = torch.cat([direction, -direction])
            loss = matching_loss(model, x, noise.to(device), direction.to(device), settings.beta)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        fit_loss = total / (len(order) // batch)
        held = _held_out_loss(model, others, fixed, settings.beta)
        if not math.isfinite(fit_loss + held):
            raise InternalError(
                f"{name}: the loss is no number any more in epoch {epoch + 1}",
                mend="lower density.learning_rate",
            )
        history.append((fit_loss, held))
        progress.advance(note=f"loss {fit_loss:.3f}, held out {held:.3f}")
        if held < best_loss:
            best, best_loss, waited = copy.deepcopy(model.state_dict()), held, 0
        else:
            waited += 1
            if waited >= settings.patience:
                break
    progress.end()
    model.load_state_dict(best)
    return TrainedDensity(model.cpu().eval(), tuple(history))


def build_density(fit: Points, settings: DensityPreset, seed: int = 0) -> DensityNetwork:
    """A network whose standardiser knows the features.

    A perceptron has random weights; radial units start as a mixture of as many spherical
    components.

    Args:
        fit: float32 (N, D).
        settings: The recipe.
        seed: Decides where the radial units start.
    """
    noise = (settings.noise_low, settings.noise_high)
    levels = noise_levels(*noise, settings.levels, settings.grid).tolist()
    standardiser = Standardiser(fit, settings.dimensions, settings.scale)
    if settings.network == "perceptron":
        return LogDensity(standardiser, levels=levels, noise=noise, hidden=settings.hidden)
    with torch.no_grad():
        points = standardiser(torch.from_numpy(fit)).numpy()
    most = max(1, len(points) // POINTS_PER_COMPONENT)
    mixture = fit_spherical(points, components=min(settings.centres, most), seed=seed)
    return RadialDensity(
        standardiser,
        levels=levels,
        noise=noise,
        weights=mixture.weights,
        centres=mixture.means,
        variance=mixture.variance,
    )


@torch.no_grad()
def energies(model: DensityNetwork, features: Points) -> Points:
    """Energies at all levels, on the CPU: float32 (N, D) -> float32 (N, L)."""
    parts = [
        model(torch.from_numpy(features[start : start + _HELD_OUT_BATCH])).numpy()
        for start in range(0, len(features), _HELD_OUT_BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.levels), np.float32)


def _held_out_loss(
    model: DensityNetwork,
    points: torch.Tensor,
    fixed: tuple[torch.Tensor, torch.Tensor],
    beta: float,
) -> float:
    total = 0.0
    for start in range(0, len(points), _HELD_OUT_BATCH):
        part = slice(start, start + _HELD_OUT_BATCH)
        noise, direction = (one[part].to(points.device) for one in fixed)
        loss = matching_loss(model, points[part], noise, direction, beta)
        total += float(loss.detach()) * len(noise)
    return total / len(points)
