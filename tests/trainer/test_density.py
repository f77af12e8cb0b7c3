"""Score matching on a density that is known in closed form: order, slope, and what refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from engines.errors import DataError
from trainer.models.log_density import (
    LogDensity,
    Standardiser,
    draw_noise,
    matching_loss,
    noise_levels,
)
from trainer.preset_sections import DensityPreset
from trainer.train_density import TrainedDensity, energies, load_density, train_density

MEANS = np.array([[-1.0, 0.0], [1.0, 0.5], [0.3, -1.2]])
SPREADS = np.array([0.35, 0.5, 0.3])
WEIGHTS = np.array([0.4, 0.4, 0.2])
LOW, HIGH, LEVELS = 0.4, 1.0, 4
TOY = DensityPreset(
    dimensions=0,
    hidden=(64, 64),
    noise_low=LOW,
    noise_high=HIGH,
    levels=LEVELS,
    beta=0.02,
    epochs=40,
    patience=40,
    batch=500,
    learning_rate=5e-3,
)


def draw(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    which = rng.choice(len(WEIGHTS), count, p=WEIGHTS)
    points = MEANS[which] + SPREADS[which][:, None] * rng.normal(size=(count, 2))
    return points.astype(np.float32)


def known(points: np.ndarray, blur: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-log density of the three Gaussians, blurred by `blur` (one an axis), and its gradient."""
    variance = np.square(SPREADS)[:, None] + np.square(blur)
    away = points[:, None].astype(float) - MEANS
    log_joint = (
        np.log(WEIGHTS)
        - 0.5 * np.log((2 * np.pi) ** 2 * variance.prod(axis=1))
        - 0.5 * (away**2 / variance).sum(axis=2)
    )
    joint = np.exp(log_joint)
    gradient = (joint[..., None] * away / variance).sum(axis=1) / joint.sum(axis=1)[:, None]
    return -np.log(joint.sum(axis=1)), gradient


@pytest.fixture(scope="module")
def trained() -> TrainedDensity:
    torch.set_num_threads(1)
    return train_density(
        draw(6000, 0), draw(1000, 1), settings=TOY, seed=0, device=torch.device("cpu")
    )


def scales(trained: TrainedDensity) -> np.ndarray:
    """Units of the standardised axes."""
    return 1.0 / np.diagonal(trained.model.standardiser.axes.numpy())


def test_a_network_that_was_kept_is_the_same(trained: TrainedDensity, tmp_path: Path) -> None:
    file, points = tmp_path / "kept.pt", draw(6000, 0)
    assert load_density(file, points, settings=TOY, seed=0) is None
    trained.save(file)
    kept = load_density(file, points, settings=TOY, seed=0)
    assert kept is not None
    assert (kept.epochs, kept.history) == (trained.epochs, trained.history)
    some = draw(50, 3)
    np.testing.assert_array_equal(energies(kept.model, some), energies(trained.model, some))
    wider = TOY.model_copy(update={"hidden": (7,)})
    with pytest.raises(DataError, match="another recipe"):
        load_density(file, points, settings=wider, seed=0)


def test_without_footage_held_out_it_ends_after_the_epochs_asked_for() -> None:
    short = TOY.model_copy(update={"epochs": 6})
    found = train_density(
        draw(300, 0), None, settings=short, seed=0, device=torch.device("cpu"), epochs=2
    )
    assert (found.epochs, len(found.history)) == (2, 2)
    # The learning rate falls as in a training of six: its first two epochs are these.
    whole = train_density(
        draw(300, 0), draw(50, 1), settings=short, seed=0, device=torch.device("cpu")
    )
    assert [losses[0] for losses in whole.history[:2]] == [losses[0] for losses in found.history]


def test_its_levels_rank_points_as_the_known_density_does(trained: TrainedDensity) -> None:
    points = draw(1500, 2)
    found = energies(trained.model, points)
    assert found.shape == (1500, LEVELS)
    for level, noise in enumerate(noise_levels(LOW, HIGH, LEVELS, "log")):
        truth, _ = known(points, noise * scales(trained))
        assert spearmanr(found[:, level], truth).statistic >= 0.98


def test_its_gradient_is_the_score_of_the_known_density(trained: TrainedDensity) -> None:
    points = draw(800, 3)
    model, noise = trained.model, 0.7
    blurred = points + noise * scales(trained) * np.random.default_rng(0).normal(size=points.shape)
    x = model.standardiser(torch.from_numpy(blurred.astype(np.float32))).requires_grad_()
    level = torch.full((len(x), 1), noise)
    (found,) = torch.autograd.grad(model.energy(x, level).sum(), x)
    _, truth = known(blurred, noise * scales(trained))
    truth = truth * scales(trained)
    error = np.linalg.norm(found.numpy() - truth) / np.linalg.norm(truth)
    cosine = (found.numpy() * truth).sum() / np.linalg.norm(found) / np.linalg.norm(truth)
    assert error < 0.2
    assert cosine > 0.98


def test_held_out_loss_falls_below_that_of_knowing_nothing(trained: TrainedDensity) -> None:
    assert trained.history[-1][1] < 0.85  # f = 0 has d / 2 = 1
    assert trained.history[-1][1] < trained.history[0][1]


def test_the_loss_is_that_of_the_formula() -> None:
    """For f linear in x the gradient is known: the whole loss by hand."""

    class Line(LogDensity):
        def energy(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            del noise
            return x @ torch.tensor([2.0, -1.0])

    model = Line(Standardiser(draw(10, 0), 0), levels=[0.5], noise=(0.1, 1.0), hidden=(4,))
    x = torch.from_numpy(draw(50, 1))
    noise, n = draw_noise(50, 2, (0.1, 1.0), torch.Generator().manual_seed(0))
    match = ((noise * torch.tensor([2.0, -1.0]) - n) ** 2).sum(1).mean() / 2
    size = ((x @ torch.tensor([2.0, -1.0])) ** 2).mean()
    found = matching_loss(model, x, noise, n, 0.3)
    assert float(found.detach()) == pytest.approx(float(match + 0.15 * size), rel=1e-6)


def test_noise_is_drawn_evenly_in_its_logarithm() -> None:
    noise, _ = draw_noise(20_000, 1, (0.01, 1.0), torch.Generator().manual_seed(0))
    counts, _ = np.histogram(np.log10(noise.numpy()), bins=4, range=(-2, 0))
    assert np.abs(counts / 5000 - 1).max() < 0.05
    np.testing.assert_allclose(noise_levels(0.01, 1.0, 3, "log"), [0.01, 0.1, 1.0])
    np.testing.assert_allclose(noise_levels(0.0, 1.0, 3, "linear"), [0.0, 0.5, 1.0])


def test_principal_axes_come_out_uncorrelated_with_unit_variance() -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)) + 3).astype(np.float32)
    z = Standardiser(points, 3)(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.01)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    flat = np.column_stack([points[:, 0], np.ones(len(points), np.float32)])
    assert np.isfinite(Standardiser(flat, 0)(torch.from_numpy(flat)).numpy()).all()


@pytest.mark.parametrize("wrong", [draw(1, 0), np.full((9, 2), np.nan, np.float32)])
def test_what_is_no_feature_set_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite feature vectors"):
        train_density(wrong, draw(9, 0), settings=TOY, seed=0, device=torch.device("cpu"))
