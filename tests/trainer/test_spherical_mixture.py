"""The mixture of many equal spheres: planted truths, closed forms, and what it must never do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from sklearn.cluster import KMeans
from support.mixtures import planted

from edge.scoring.energy import MixtureEnergy
from engines.errors import DataError
from trainer.lloyd import move
from trainer.spherical_mixture import SphericalMixture, fit_spherical


def test_one_component_is_the_mean_and_the_mean_variance() -> None:
    z = np.random.default_rng(0).normal(3.0, 2.0, (5000, 7)).astype(np.float32)
    mixture = fit_spherical(z, components=1, seed=0)
    exact = z.astype(np.float64)
    np.testing.assert_allclose(mixture.means[0], exact.mean(0), rtol=1e-5)
    assert mixture.variance == pytest.approx(exact.var(0).mean(), rel=1e-5)
    np.testing.assert_array_equal(mixture.weights, [1.0])
    # Mean log-density of points under their own Gaussian: -J/2 (log(2 pi sigma^2) + 1).
    expected = -3.5 * (np.log(2 * np.pi * mixture.variance) + 1)
    assert mixture.log_likelihood(z) == pytest.approx(expected, rel=1e-4)


def test_planted_centres_weights_and_variance_are_found() -> None:
    z, centres = planted(6000, 30)
    mixture = fit_spherical(z, components=30, seed=1)
    distance = np.linalg.norm(centres[:, None] - mixture.means, axis=2)
    assert sorted(distance.argmin(1)) == list(range(30))
    # 200 points a centre: its mean is off by 0.02 sqrt(64 / 200).
    assert distance.min(1).max() < 2 * 0.02 * np.sqrt(64 / 200)
    assert mixture.variance == pytest.approx(0.02**2, rel=0.03)
    np.testing.assert_allclose(mixture.weights, 1 / 30, rtol=0.02)


def test_overlapping_points_are_explained_as_well_as_by_scikit_learns_k_means() -> None:
    z = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)
    ours = fit_spherical(z, components=40, iterations=50, seed=0)
    theirs = KMeans(40, n_init=1, random_state=0).fit(z)
    assert ours.variance * z.size == pytest.approx(theirs.inertia_, rel=0.02)


def test_more_steps_never_fit_worse() -> None:
    z = np.random.default_rng(1).normal(size=(2000, 8)).astype(np.float32)
    variances = [
        fit_spherical(z, components=25, iterations=steps, seed=0).variance for steps in range(1, 12)
    ]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(variances))


def test_the_stored_arrays_are_the_mixture() -> None:
    z, _ = planted(2000, 20)
    mixture = fit_spherical(z, components=20, seed=0)
    arrays = mixture.arrays()
    assert arrays["means"].dtype == np.float16
    assert arrays["variances"].shape == (1,)
    assert np.array_equal(MixtureEnergy.from_arrays(arrays).energy(z), mixture.energy(z))
    exact = {
        "weights": mixture.weights,
        "means": mixture.means,
        "variances": np.array(mixture.variance),
    }
    reference = MixtureEnergy.from_arrays(exact).energy(z)
    assert np.abs(mixture.energy(z) - reference).max() < 0.05 * reference.std()


@pytest.mark.parametrize("offset", [1000.0, 1e6])
def test_means_that_half_precision_would_spoil_are_stored_in_full(offset: float) -> None:
    z, _ = planted(500, 5, spread=0.5)
    mixture = fit_spherical(z + np.float32(offset), components=5, seed=0)
    assert mixture.arrays()["means"].dtype == np.float32


def test_fewer_distinct_points_than_components_lower_the_count() -> None:
    z = np.repeat(np.eye(3, 4, dtype=np.float32), 10, axis=0)
    mixture = fit_spherical(z, components=8, seed=0)
    assert len(mixture.weights) == 3
    assert mixture.variance > 0.0
    assert np.isfinite(mixture.log_likelihood(z))
    assert len(fit_spherical(z[:1], components=4, seed=0).weights) == 1


def test_no_component_is_empty_and_weights_sum_to_one() -> None:
    z, _ = planted(900, 3, spread=1e-4)  # three clumps for 200 components
    mixture = fit_spherical(z, components=200, seed=0)
    assert (mixture.weights * 900 > 0.5).all()
    assert mixture.weights.sum() == pytest.approx(1.0)


def test_an_empty_component_starts_again_at_the_farthest_point() -> None:
    z = np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 0.0]], np.float32)
    means = np.array([[1.0, 0.0], [50.0, 0.0]], np.float32)
    distances = np.array([1.0, 1.0, 64.0], np.float32)
    moved = move(z, np.zeros(3, np.intp), distances, means)
    np.testing.assert_allclose(moved, [[11 / 3, 0.0], [9.0, 0.0]], rtol=1e-6)


def test_same_seed_same_mixture_another_seed_another() -> None:
    z = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    first, second, other = (fit_spherical(z, components=50, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.means, second.means)
    assert first.variance == second.variance
    assert not np.array_equal(first.means, other.means)


GOOD = np.eye(8, dtype=np.float32)
MIXTURE = SphericalMixture(np.ones(1), np.zeros((1, 4), np.float32), 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit_spherical(np.zeros(5, np.float32), components=1, seed=0),
        lambda: fit_spherical(GOOD[:0], components=1, seed=0),
        lambda: fit_spherical(GOOD[:, :0], components=1, seed=0),
        lambda: fit_spherical(GOOD * np.float32(np.nan), components=1, seed=0),
        lambda: fit_spherical(GOOD, components=0, seed=0),
        lambda: fit_spherical(GOOD, components=1, iterations=0, seed=0),
        lambda: MIXTURE.log_likelihood(GOOD),
        lambda: MIXTURE.energy(GOOD[0, :4]),
    ],
)
def test_what_cannot_be_fitted_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(DataError):
        call()
