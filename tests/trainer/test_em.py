"""EM against scikit-learn's, step by step and at the end; and what EM must always do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from trainer.em import DiagonalMixture, em_step, fit_mixture


def blobs(
    n: int = 3000, components: int = 4, latent: int = 6, seed: int = 0
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    means = 4.0 * rng.normal(size=(components, latent))
    spread = rng.uniform(0.3, 1.5, (components, latent))
    which = rng.integers(components, size=n)
    return means[which] + spread[which] * rng.normal(size=(n, latent)) + 100.0


def start(z: NDArray[np.float64], components: int) -> DiagonalMixture:
    rng = np.random.default_rng(1)
    means = z[rng.choice(len(z), components, replace=False)]
    return DiagonalMixture(
        np.full(components, 1.0 / components), means, np.tile(z.var(0), (components, 1))
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("steps", [1, 7])
def test_steps_equal_those_of_sklearn(steps: int) -> None:
    z = blobs()
    mixture = start(z, 4)
    reference = GaussianMixture(
        4,
        covariance_type="diag",
        reg_covar=0.0,
        max_iter=steps,
        tol=0.0,
        weights_init=mixture.weights,
        means_init=mixture.means,
        precisions_init=1.0 / mixture.variances,
    ).fit(z)
    for _ in range(steps):
        mixture, _ = em_step(z, mixture, np.zeros(6))
    np.testing.assert_allclose(mixture.weights, reference.weights_, rtol=1e-7)
    np.testing.assert_allclose(mixture.means, reference.means_, rtol=1e-7)
    np.testing.assert_allclose(mixture.variances, reference.covariances_, rtol=1e-6)


def test_likelihood_equals_that_of_sklearn() -> None:
    z = blobs()
    mixture = start(z, 4)
    reference = GaussianMixture(4, covariance_type="diag")
    reference.weights_, reference.means_ = mixture.weights, mixture.means
    reference.covariances_ = mixture.variances
    reference.precisions_cholesky_ = 1.0 / np.sqrt(mixture.variances)
    np.testing.assert_allclose(mixture.log_likelihood(z), reference.score_samples(z), rtol=1e-9)


def test_finds_what_sklearn_finds() -> None:
    z, held = blobs(seed=0)[:2500], blobs(seed=0)[2500:]
    ours = fit_mixture(
        z,
        held,
        components=4,
        restarts=5,
        iterations=100,
        tolerance=1e-6,
        variance_floor=1e-6,
        seed=0,
    )
    reference = GaussianMixture(4, covariance_type="diag", n_init=5, random_state=0).fit(z)
    assert ours.held_out_likelihood == pytest.approx(reference.score(held), abs=0.02)
    order = np.argsort(ours.mixture.means[:, 0])
    expected = np.argsort(reference.means_[:, 0])
    np.testing.assert_allclose(
        ours.mixture.means[order], reference.means_[expected], rtol=0, atol=0.05
    )


def test_likelihood_never_falls() -> None:
    z = blobs(components=6)
    mixture = start(z, 5)
    previous = -np.inf
    for _ in range(30):
        mixture, likelihood = em_step(z, mixture, np.full(6, 1e-9))
        assert likelihood >= previous - 1e-9
        previous = likelihood


def test_held_out_vectors_choose_the_start() -> None:
    """The result is the best of its starts on held-out vectors, not on training vectors."""
    z, held = blobs(400, components=8, seed=2)[:200], blobs(400, components=8, seed=2)[200:]

    def run(restarts: int) -> tuple[float, int]:
        result = fit_mixture(
            z,
            held,
            components=10,
            restarts=restarts,
            iterations=50,
            tolerance=1e-4,
            variance_floor=1e-3,
            seed=7,
        )
        return result.held_out_likelihood, result.restart

    values = [run(n) for n in range(1, 7)]
    likelihoods = [value for value, _ in values]
    assert likelihoods == sorted(likelihoods)
    assert values[-1][1] == int(np.argmax([round(v, 12) for v in likelihoods]))


def test_variances_do_not_fall_below_the_floor() -> None:
    z = blobs()
    z[:500] = z[0]  # many identical patches would pull a component onto a point
    result = fit_mixture(
        z,
        z[:0],
        components=6,
        restarts=2,
        iterations=50,
        tolerance=1e-4,
        variance_floor=1e-2,
        seed=0,
    )
    assert (result.mixture.variances >= 1e-2 * z.var(0) * (1 - 1e-12)).all()
    assert result.mixture.weights.sum() == pytest.approx(1.0)


def test_fewer_distinct_vectors_than_components_lower_the_count() -> None:
    z = np.repeat(np.eye(3, 4), 10, axis=0)
    result = fit_mixture(
        z,
        z,
        components=8,
        restarts=1,
        iterations=10,
        tolerance=1e-4,
        variance_floor=1e-3,
        seed=0,
    )
    assert len(result.mixture.weights) == 3
    assert np.isfinite(result.held_out_likelihood)


def test_same_seed_same_mixture() -> None:
    z = blobs()
    settings = {
        "components": 4,
        "restarts": 2,
        "iterations": 20,
        "tolerance": 1e-4,
        "variance_floor": 1e-3,
    }
    first, second = (fit_mixture(z, z, seed=3, **settings) for _ in range(2))
    np.testing.assert_array_equal(first.mixture.means, second.mixture.means)
