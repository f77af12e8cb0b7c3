"""The Pareto fit against scipy's maximum likelihood and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import genpareto

from calibration.generalised_pareto import GeneralisedPareto, fit_generalised_pareto


@pytest.mark.parametrize(("shape", "size"), [(0.2, 300), (0.0, 800), (0.4, 2000), (-0.3, 500)])
def test_fit_agrees_with_scipy(shape: float, size: int) -> None:
    excesses = genpareto.rvs(shape, scale=3.0, size=size, random_state=size)
    fitted = fit_generalised_pareto(excesses, shape_range=(-0.5, 0.5))
    expected = genpareto.fit(excesses, floc=0)
    assert fitted.shape == pytest.approx(expected[0], abs=1e-3)
    assert fitted.scale == pytest.approx(expected[2], rel=1e-3)


@pytest.mark.parametrize(("shape", "edge"), [(1.5, 0.5), (-0.4, 0.0)])
def test_at_the_edge_of_the_shape_range_the_scale_still_has_the_highest_likelihood(
    shape: float, edge: float
) -> None:
    excesses = genpareto.rvs(shape, scale=2.0, size=400, random_state=1)
    fitted = fit_generalised_pareto(excesses, shape_range=(0.0, 0.5))
    assert fitted.shape == edge
    expected = genpareto.fit(excesses, f0=edge, floc=0)
    assert fitted.scale == pytest.approx(expected[2], rel=1e-3)


def test_few_excesses_give_the_exponential_with_their_mean() -> None:
    fitted = fit_generalised_pareto(np.array([1.0, 2.0, 6.0]), shape_range=(-0.5, 0.5))
    assert fitted == GeneralisedPareto(0.0, 3.0)


def test_equal_excesses_give_a_defined_fit() -> None:
    fitted = fit_generalised_pareto(np.full(50, 2.0), shape_range=(0.0, 0.5))
    assert fitted == GeneralisedPareto(0.0, pytest.approx(2.0))


@settings(deadline=None)
@given(st.floats(0.1, 100.0))
def test_fit_scales_with_the_unit(unit: float) -> None:
    excesses = genpareto.rvs(0.2, size=100, random_state=3)
    one = fit_generalised_pareto(excesses, shape_range=(0.0, 0.5))
    other = fit_generalised_pareto(excesses * unit, shape_range=(0.0, 0.5))
    assert other.shape == pytest.approx(one.shape, abs=1e-6)
    assert other.scale == pytest.approx(one.scale * unit, rel=1e-6)


@pytest.mark.parametrize("shape", [0.0, 0.3, -0.2])
def test_surprise_is_scipy_s_log_survival(shape: float) -> None:
    excess = np.array([0.0, 0.5, 2.0, 8.0])
    found = GeneralisedPareto(shape, 2.0).surprise(excess)
    assert found == pytest.approx(-genpareto.logsf(excess, shape, scale=2.0) / np.log(10.0))


@pytest.mark.parametrize("shape", [0.0, 1e-12, 0.3, -0.2])
def test_excess_at_inverts_surprise(shape: float) -> None:
    pareto = GeneralisedPareto(shape, 2.0)
    assert pareto.surprise(np.array([pareto.excess_at(1e4)])) == pytest.approx([4.0])
    assert pareto.excess_at(1.0) == 0.0


@pytest.mark.parametrize("shape", [0.0, 0.3, -0.3])
def test_samples_follow_the_distribution(shape: float) -> None:
    sample = GeneralisedPareto(shape, 2.0).sample(20_000, np.random.default_rng(0))
    for quantile in (0.5, 0.9, 0.99):
        expected = genpareto.ppf(quantile, shape, scale=2.0)
        assert np.quantile(sample, quantile) == pytest.approx(expected, rel=0.08)
