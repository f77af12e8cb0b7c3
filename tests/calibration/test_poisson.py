"""Poisson limits against scipy's chi-square and the figures in the literature."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, poisson

from calibration.poisson import (
    most_events_within,
    poisson_interval,
    poisson_lower_limit,
    poisson_upper_limit,
)
from engines.errors import DataError


@pytest.mark.parametrize(
    ("count", "limit"), [(0, 2.9957), (1, 4.7439), (2, 6.2958), (3, 7.7537), (5, 10.5130)]
)
def test_known_upper_limits_at_95_percent(count: int, limit: float) -> None:
    assert poisson_upper_limit(count, 0.95) == pytest.approx(limit, abs=1e-4)


@given(st.integers(0, 3000), st.floats(0.5, 0.9999))
@settings(deadline=None, max_examples=60)
def test_limits_are_the_chi_square_quantiles(count: int, confidence: float) -> None:
    upper = poisson_upper_limit(count, confidence)
    assert upper == pytest.approx(chi2.ppf(confidence, 2 * count + 2) / 2, rel=1e-9)
    lower = poisson_lower_limit(count, confidence)
    expected = chi2.ppf(1 - confidence, 2 * count) / 2 if count else 0.0
    assert lower == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_the_interval_is_garwood_s() -> None:
    low, high = poisson_interval(10, 0.95)
    assert (low, high) == pytest.approx((4.7954, 18.3904), abs=1e-4)
    assert poisson_interval(0, 0.95) == (0.0, pytest.approx(3.6889, abs=1e-4))


def test_the_interval_covers_at_least_as_often_as_it_says() -> None:
    for mean in (0.3, 1.0, 4.0, 12.0):
        covered = sum(
            poisson.pmf(k, mean)
            for k in range(80)
            if poisson_interval(k, 0.9)[0] <= mean <= poisson_interval(k, 0.9)[1]
        )
        assert covered >= 0.9


@given(st.floats(0.0, 400.0), st.floats(0.6, 0.99))
@settings(deadline=None, max_examples=60)
def test_most_events_is_the_last_count_whose_limit_fits(mean: float, confidence: float) -> None:
    count = most_events_within(mean, confidence)
    if count is None:
        assert poisson_upper_limit(0, confidence) > mean
    else:
        assert poisson_upper_limit(count, confidence) <= mean
        assert poisson_upper_limit(count + 1, confidence) > mean


@pytest.mark.parametrize(("count", "confidence"), [(-1, 0.95), (0, 0.0), (0, 1.0)])
def test_nonsense_is_refused(count: int, confidence: float) -> None:
    with pytest.raises(DataError, match="Poisson"):
        poisson_upper_limit(count, confidence)
