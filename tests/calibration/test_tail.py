"""The tail model: counts below its level, the true law above it, strictly rising everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from calibration.tail import TailModel
from engines.errors import DataError


def test_the_empirical_part_is_the_share_of_values_at_least_as_large() -> None:
    values = np.random.default_rng(0).standard_normal(5000)
    tail = TailModel.fit(values)
    for z in (-1.0, 0.0, 1.0, 2.0):
        share = np.mean(values >= z)
        assert 10.0 ** -tail.surprise(np.array(z)) == pytest.approx(share, abs=2e-3)


def test_small_samples_by_hand() -> None:
    # n = 4: half of them, 2, lie above the level, which is the second smallest value.
    tail = TailModel.fit(np.array([4.0, 1.0, 2.0, 7.0]))
    assert tail.level == 2.0
    assert 10.0 ** -tail.surprise(np.array([1.0, 2.0])) == pytest.approx([4 / 5, 3 / 5])
    # Exponential above it with the mean excess (2 + 5) / 2.
    assert 10.0 ** -tail.surprise(np.array(9.0)) == pytest.approx(3 / 5 * np.exp(-7 / 3.5))


def test_the_tail_beyond_the_data_follows_an_exponential_law() -> None:
    values = np.random.default_rng(1).standard_exponential(200_000)
    tail = TailModel.fit(values)
    z = np.array([8.0, 12.0, 18.0])
    assert tail.surprise(z) == pytest.approx(z / np.log(10.0), rel=0.15)
    assert tail.level == pytest.approx(np.log(100.0), rel=0.02)


def test_a_gaussian_tail_errs_to_the_side_of_less_surprise() -> None:
    values = np.random.default_rng(2).standard_normal(50_000)
    found = TailModel.fit(values).surprise(np.array(6.0))
    assert 4.0 < found < -norm.logsf(6.0) / np.log(10.0)


def test_nothing_saturates() -> None:
    tail = TailModel.fit(np.random.default_rng(3).standard_normal(3000))
    z = np.array([-1e12, -1e3, -50.0, 50.0, 1e3, 1e6, 1e12, 1e100])
    surprise = tail.surprise(z)
    assert np.isfinite(surprise).all()
    assert (np.diff(surprise) > 0).all()
    assert surprise[0] > 0


samples = st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=1, max_size=300)
queries = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 6)), min_size=2, unique=True)


@given(samples, queries)
@settings(deadline=None, max_examples=150)
def test_surprise_rises_strictly_whatever_the_sample(
    sample: list[float], query: list[float]
) -> None:
    tail = TailModel.fit(np.array(sample))
    surprise = tail.surprise(np.sort(np.array(query)))
    assert (np.diff(surprise) > 0).all()
    assert (surprise > 0).all()
    assert np.isfinite(surprise).all()


@settings(deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_the_sample_does_not_matter(sample: list[float], random: object) -> None:
    shuffled = list(sample)
    random.shuffle(shuffled)
    z = np.linspace(-60, 60, 25)
    found = TailModel.fit(np.array(shuffled)).surprise(z)
    assert found.tolist() == TailModel.fit(np.array(sample)).surprise(z).tolist()


@settings(deadline=None)
@given(samples)
def test_it_survives_its_file(sample: list[float]) -> None:
    tail = TailModel.fit(np.array(sample))
    again = TailModel.from_arrays(tail.to_arrays())
    z = np.linspace(-60, 60, 25)
    assert again.surprise(z).tolist() == tail.surprise(z).tolist()
    assert again.count == len(sample)


@pytest.mark.parametrize(
    "sample",
    [[3.0], [2.0] * 50, [0.0] * 99 + [5.0], [0.0] + [5.0] * 99, [0.0] * 50 + [1.0] * 50],
    ids=["one", "all equal", "one above", "tied at the top", "two values"],
)
def test_degenerate_samples_are_defined(sample: list[float]) -> None:
    tail = TailModel.fit(np.array(sample))
    surprise = tail.surprise(np.array([-10.0, 0.0, 2.5, 5.0, 20.0]))
    assert np.isfinite(surprise).all()
    assert (np.diff(surprise) > 0).all()


def test_knots_are_bounded_and_keep_the_level() -> None:
    values = np.random.default_rng(4).standard_normal(100_000)
    tail = TailModel.fit(values)
    assert tail.knots.size <= 1001
    assert tail.level == pytest.approx(np.quantile(values, 0.99), abs=1e-3)
    assert tail.smallest == values.min()


def test_shape_and_dtype_are_kept() -> None:
    tail = TailModel.fit(np.arange(100.0))
    found = tail.surprise(np.zeros((3, 5)))
    assert found.shape == (3, 5)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("sample", "message"),
    [([], "no cell was active"), ([1.0, np.nan], "1 of 2"), ([np.inf], "1 of 1")],
)
def test_samples_without_numbers_are_refused(sample: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TailModel.fit(np.array(sample))


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="not a number"):
        TailModel.fit(np.arange(9.0)).surprise(np.array([1.0, np.nan]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("knots", np.array([1.0, 1.0])),
        ("surprise", np.array([0.5, 0.2])),
        ("surprise", np.array([0.0, 0.2])),
        ("pareto", np.array([0.7, 1.0, 9.0])),
        ("pareto", np.array([0.1, 0.0, 9.0])),
        ("pareto", np.array([0.1, np.nan, 9.0])),
        ("pareto", np.array([0.1])),
        ("knots", np.empty(0)),
    ],
)
def test_broken_files_are_refused(name: str, value: NDArray[np.float64]) -> None:
    good = {
        "knots": np.array([0.0, 1.0]),
        "surprise": np.array([0.1, 0.2]),
        "pareto": np.array([0.1, 1.0, 9.0]),
    }
    TailModel.from_arrays(good)
    with pytest.raises(DataError):
        TailModel.from_arrays({**good, name: value})
    with pytest.raises(DataError, match="lack"):
        TailModel.from_arrays({key: array for key, array in good.items() if key != name})
