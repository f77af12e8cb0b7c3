"""Radial units: a blurred mixture in closed form before training, a known density after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, spearmanr

from trainer.export import export_module
from trainer.feature_network import run_network
from trainer.models.log_density import Standardiser, draw_noise, matching_loss, noise_levels
from trainer.models.radial_density import RadialDensity
from trainer.preset_sections import DensityPreset
from trainer.train_density import TrainedDensity, build_density, energies, train_density

MEANS = np.array([[-2.0, 0.0, 0.5], [1.5, 1.0, 0.0], [0.5, -2.0, -1.0]])
WEIGHTS = np.array([0.5, 0.3, 0.2])
SPREAD = 0.4
LOW, HIGH, LEVELS = 0.3, 1.0, 3
RECIPE = DensityPreset(
    network="radial",
    centres=12,
    dimensions=0,
    scale="common",
    noise_low=LOW,
    noise_high=HIGH,
    levels=LEVELS,
    beta=0.0,
    epochs=15,
    patience=15,
    batch=250,
    learning_rate=1e-2,
)


def draw(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    which = rng.choice(len(WEIGHTS), count, p=WEIGHTS)
    return (MEANS[which] + SPREAD * rng.normal(size=(count, 3))).astype(np.float32)


def known(points: np.ndarray, blur: float) -> np.ndarray:
    """-ln of the density of `draw`, blurred by Gaussian noise of this standard deviation."""
    parts = [
        weight * multivariate_normal(mean, (SPREAD**2 + blur**2) * np.eye(3)).pdf(points)
        for weight, mean in zip(WEIGHTS, MEANS, strict=True)
    ]
    return -np.log(np.sum(parts, axis=0))


def unit(model: torch.nn.Module) -> float:
    """Length of one standardised unit in the features' own."""
    return 1.0 / float(model.standardiser.axes[0, 0])


@pytest.fixture(scope="module")
def trained() -> TrainedDensity:
    torch.set_num_threads(1)
    return train_density(
        draw(4000, 0), draw(1000, 1), settings=RECIPE, seed=0, device=torch.device("cpu")
    )


def test_with_known_centres_every_level_is_the_blurred_density_itself() -> None:
    points = draw(500, 2)
    standardiser = Standardiser(points, 0, "common")
    centres = standardiser(torch.from_numpy(MEANS.astype(np.float32))).numpy()
    levels = noise_levels(LOW, HIGH, LEVELS, "log")
    model = RadialDensity(
        standardiser,
        levels=levels.tolist(),
        noise=(LOW, HIGH),
        weights=WEIGHTS,
        centres=centres,
        variance=(SPREAD * float(standardiser.axes[0, 0])) ** 2,
    )
    found = energies(model, points)
    for level, noise in enumerate(levels):
        # The density of standardised points is that of the points times the unit's volume.
        wanted = known(points, noise * unit(model)) - 3 * np.log(unit(model))
        np.testing.assert_allclose(found[:, level], wanted, atol=2e-4)
        x, one = standardiser(torch.from_numpy(points)), torch.full((len(points), 1), float(noise))
        alone = model.energy(x, one).detach().numpy()
        np.testing.assert_allclose(alone, found[:, level], atol=1e-4)


def test_after_score_matching_it_ranks_points_as_the_known_density(trained: TrainedDensity) -> None:
    points = draw(1500, 3)
    found = energies(trained.model, points)
    for level, noise in enumerate(noise_levels(LOW, HIGH, LEVELS, "log")):
        truth = known(points, float(noise) * unit(trained.model))
        assert spearmanr(found[:, level], truth).statistic >= 0.98
        assert np.abs(found[:, level] - found[:, level].mean() - truth + truth.mean()).mean() < 0.1


def test_score_matching_learns_more_than_it_began_with(trained: TrainedDensity) -> None:
    """A start that is wrong about every weight and the variance."""
    start = build_density(draw(4000, 0), RECIPE, 0)
    assert isinstance(start, RadialDensity)
    with torch.no_grad():
        start.log_variance += 2.0
        start.weights += torch.linspace(-2, 2, len(start.weights))
    x = start.standardiser(torch.from_numpy(draw(1000, 1)))
    noise, direction = draw_noise(1000, 3, (LOW, HIGH), torch.Generator().manual_seed(1))
    wrong = float(matching_loss(start, x, noise, direction, 0.0).detach())
    assert trained.history[-1][1] < 0.95 * wrong


def test_far_from_all_that_was_seen_the_energy_grows_with_the_square(
    trained: TrainedDensity,
) -> None:
    usual = energies(trained.model, draw(1000, 4)).max(axis=0)
    way = np.array([[0.0, 3.0, 4.0]], np.float32)
    near, far = (energies(trained.model, scale * way)[0] for scale in (10, 100))
    assert (near > usual).all()
    np.testing.assert_allclose(far / near, 100, rtol=0.3)


def test_the_exported_network_stays_finite_far_away(
    trained: TrainedDensity, tmp_path: Path
) -> None:
    points = np.concatenate([draw(6, 5), 50 * draw(6, 6)])
    path = tmp_path / "density.onnx"
    export_module(trained.model, path, shape=(3,), samples=points)
    found = run_network(path.read_bytes(), points)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, energies(trained.model, points), rtol=1e-3, atol=1e-3)


def test_one_scale_for_all_axes_keeps_the_order_of_distances() -> None:
    points = draw(400, 7) * np.array([10.0, 1.0, 0.1], np.float32)
    for dimensions in (0, 3):
        z = Standardiser(points, dimensions, "common")(torch.from_numpy(points)).numpy()
        assert np.square(z).mean() == pytest.approx(1.0, rel=1e-3)
        before, after = (np.linalg.norm(one[1:] - one[:-1], axis=1) for one in (points, z))
        np.testing.assert_allclose(after / after[0], before / before[0], rtol=1e-4)


def test_little_footage_gives_few_units() -> None:
    model = build_density(draw(40, 8), RECIPE, 0)
    assert isinstance(model, RadialDensity)
    assert len(model.centres) == 5
