"""Denoising score matching: from features of normal footage to a log-density network."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.atomic import replacing
from engines.errors import DataError, InternalError
from trainer.checkpoint import copy_weights, read_checkpoint
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
    """A network, and what it came from.

    Attributes:
        model: Of the epoch with the lowest held-out loss, or of the last one if none is held out.
        epochs: That epoch, from 1.
        history: Of every epoch: the loss on what it learned from, then the held-out loss, if any.
    """

    model: DensityNetwork
    epochs: int
    history: tuple[tuple[float, ...], ...]

    def save(self, path: Path) -> None:
        """Keep it at `path`.

        Raises:
            CannotCreateError: The folder cannot be written, or the disk is full.
        """
        history = [list(losses) for losses in self.history]
        kept = {"model": copy_weights(self.model), "epochs": self.epochs, "history": history}
        with replacing(path) as stream:
            torch.save(kept, stream)


def load_density(
    path: Path, fit: Points, *, settings: DensityPreset, seed: int
) -> TrainedDensity | None:
    """What `TrainedDensity.save` has kept of a training on `fit`; None where there is none yet.

    Raises:
        DataError: The file cannot be read, or is of another recipe.
    """
    kept = read_checkpoint(path)
    if kept is None:
        return None
    model = build_density(fit, settings, seed)
    try:
        model.load_state_dict(kept["model"])
        history = tuple(tuple(map(float, losses)) for losses in kept["history"])
        return TrainedDensity(model.eval(), int(kept["epochs"]), history)
    except (KeyError, TypeError, RuntimeError) as error:
        raise DataError(
            "the log-density network that is kept here is of another recipe",
            where=str(path),
            mend="delete it; it is then learned again",
        ) from error


def train_density(
    fit: Points,
    held_out: Points | None,
    *,
    settings: DensityPreset,
    seed: int,
    device: torch.device,
    epochs: int | None = None,
    name: str = "density",
    progress: TrainingProgress | None = None,
) -> TrainedDensity:
    """Fit f(x, s) on features of normal footage.

    The held-out loss is taken under the same noise after every epoch, so that epochs compare; the
    training ends when it has not fallen `patience` times. Without one it ends after `epochs`.

    Args:
        fit: float32 (N, D), finite.
        held_out: float32 (M, D) of other footage; None: it ends after `epochs`.
        settings: The recipe.
        seed: Same seed, same network on one machine with one number of threads.
        device: Where it is trained; the result lies on the CPU.
        epochs: Ends after so many of the recipe's, its learning rate falling as if it did not.
        name: For the progress.
        progress: Told about each epoch.

    Raises:
        DataError: Fewer than two vectors, or numbers that are not finite.
        InternalError: The loss is no number any more.
    """
    progress = progress or SilentTraining()
    for part in (fit, held_out):
        if part is not None and (len(part) < 2 or not np.isfinite(part).all()):
            raise DataError(
                f"a density needs finite feature vectors, found {len(fit)} to learn from and "
                f"{0 if held_out is None else len(held_out)} held out",
                mend="give footage with movement",
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_density(fit, settings, seed).to(device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        points = model.standardiser(torch.from_numpy(fit).to(device))
    judge = None if held_out is None else _Judge(model, held_out, settings.beta, seed + 1)
    batch = min(settings.batch, len(points))
    steps = settings.epochs * (len(points) // batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), math.inf, 0
    history: list[tuple[float, ...]] = []
    last = settings.epochs if epochs is None else min(epochs, settings.epochs)
    progress.begin(f"{name}: score matching", total=last)
    for epoch in range(1, last + 1):
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
        losses = [total / (len(order) // batch)]
        if judge is not None:
            losses.append(judge.loss(model))
        if not all(map(math.isfinite, losses)):
            raise InternalError(
                f"{name}: the loss is no number any more in epoch {epoch}",
                mend="lower density.learning_rate",
            )
        history.append(tuple(losses))
        held = "" if judge is None else f", held out {losses[-1]:.3f}"
        progress.advance(note=f"loss {losses[0]:.3f}{held}")
        if judge is None or losses[-1] < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), losses[-1], epoch
        elif epoch - best_epoch >= settings.patience:
            break
    progress.end()
    model.load_state_dict(best)
    return TrainedDensity(model.cpu().eval(), best_epoch, tuple(history))


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


class _Judge:
    """Held-out loss under the same noise at every call."""

    def __init__(self, model: DensityNetwork, held_out: Points, beta: float, seed: int) -> None:
        device = next(model.parameters()).device
        with torch.no_grad():
            self._points = model.standardiser(torch.from_numpy(held_out).to(device))
        count, dimensions = self._points.shape
        generator = torch.Generator().manual_seed(seed)
        noise = draw_noise(count, dimensions, model.noise, generator)
        self._noise = [one.to(device) for one in noise]
        self._beta = beta

    def loss(self, model: DensityNetwork) -> float:
        total = 0.0
        for start in range(0, len(self._points), _HELD_OUT_BATCH):
            part = slice(start, start + _HELD_OUT_BATCH)
            noise, direction = (one[part] for one in self._noise)
            loss = matching_loss(model, self._points[part], noise, direction, self._beta)
            total += float(loss.detach()) * len(noise)
        return total / len(self._points)
