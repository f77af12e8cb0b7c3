"""Diagonal and full covariances: scikit-learn's own density is what a device computes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from support.mixtures import planted

from engines.errors import DataError
from trainer.gaussian_mixture import fit_gaussians
from trainer.mixture_choice import choose_components, fitter

FORMS = pytest.mark.parametrize("form", ["diag", "full"])


@FORMS
def test_planted_clusters_are_found_and_the_energy_is_scikit_learns(
    form: Literal["diag", "full"],
) -> None:
    z, centres = planted(1200, 4, latent=6, spread=0.05)
    mixture = fit_gaussians(z, components=4, covariance=form, seed=0)
    means = mixture.arrays()["means"]
    distance = np.linalg.norm(centres[:, None] - means, axis=2)
    assert distance.min(1).max() < 0.02
    pooled = float(z.var(0).mean())
    theirs = GaussianMixture(
        4, covariance_type=form, reg_covar=0.01 * pooled, init_params="k-means++", random_state=0
    ).fit(z)
    np.testing.assert_allclose(mixture.energy(z), -theirs.score_samples(z), atol=1e-3)
    assert mixture.log_likelihood(z) == pytest.approx(theirs.score(z), abs=1e-3)


def test_one_full_component_is_the_gaussian_of_the_points() -> None:
    rng = np.random.default_rng(0)
    shear = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.2, 0.4]])
    z = (rng.normal(size=(4000, 3)) @ shear.T).astype(np.float32)
    mixture = fit_gaussians(z, components=1, covariance="full", seed=0)
    floor = 0.01 * z.var(0).mean() * np.eye(3)
    exact = multivariate_normal(z.mean(0), np.cov(z.T, bias=True) + floor)
    np.testing.assert_allclose(mixture.energy(z[:50]), -exact.logpdf(z[:50]), rtol=1e-4)


def test_a_full_covariance_needs_points() -> None:
    z, _ = planted(120, 3, latent=10, spread=0.1)
    few = fit_gaussians(z, components=50, covariance="full", seed=0)
    assert len(few.arrays()["weights"]) == 120 // 20
    assert few.arrays()["precision_cholesky"].shape == (6, 10, 10)
    for points, components in ((z[:1], 1), (z, 0)):
        with pytest.raises(DataError, match="cannot be fitted"):
            fit_gaussians(points, components=components, covariance="full", seed=0)


def test_their_number_is_chosen_by_the_same_rule() -> None:
    z, _ = planted(800, 5, latent=8, spread=0.05)
    choice = choose_components(
        np.array_split(z, 4), fitter("diag", seed=0), largest=10, seed=0, rounds=2
    )
    assert choice.components >= 3
    assert choice.held_out[choice.components] > choice.held_out[1] + 1.0
