"""Cell statistics against the printed formula, cell by cell, and known limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from calibration.cell_statistics import CellStatistics
from engines.errors import DataError

SHAPE = (3, 4)


def sample(size: int, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, 3, size), random.integers(0, 4, size)
    energies = random.standard_normal(size) * (1 + rows) + 10 * columns
    return energies, rows, columns


@given(st.integers(1, 400), st.floats(0.0, 500.0))
@settings(deadline=None, max_examples=40)
def test_it_is_the_formula(size: int, n0: float) -> None:
    """m = (n m_cell + n0 m_g) / (n + n0), log s likewise, s_cell at least 1e-3 s_g."""
    energies, rows, columns = sample(size)
    found = CellStatistics.fit(energies, rows, columns, SHAPE, n0=n0)
    m_g = np.median(energies)
    s_g = 1.4826 * median_abs_deviation(energies)
    if s_g == 0.0:
        return  # tested below
    for r in range(3):
        for c in range(4):
            here = energies[(rows == r) & (columns == c)]
            n = len(here)
            assert found.count[r, c] == n
            m, log_s = m_g, np.log(s_g)
            if n:
                s_cell = max(1.4826 * median_abs_deviation(here), 1e-3 * s_g)
                m = (n * np.median(here) + n0 * m_g) / (n + n0)
                log_s = (n * np.log(s_cell) + n0 * np.log(s_g)) / (n + n0)
            assert found.median[r, c] == pytest.approx(m)
            assert found.scale[r, c] == pytest.approx(np.exp(log_s))


def test_by_hand() -> None:
    # Cell (0, 0): 1, 2, 6 -> median 2, MAD 1. Cell (0, 1): 10 -> MAD 0, floored at 1e-3 s_g.
    # All: 1, 2, 6, 10 -> median 4, deviations 3 2 2 6 -> MAD 2.5.
    found = CellStatistics.fit(
        np.array([1.0, 2.0, 6.0, 10.0]),
        np.array([0, 0, 0, 0]),
        np.array([0, 0, 0, 1]),
        (1, 3),
        n0=1.0,
    )
    s_g = 1.4826 * 2.5
    assert found.median.tolist() == [[(3 * 2 + 4) / 4, (10 + 4) / 2, 4.0]]
    assert found.scale[0, 0] == pytest.approx((1.4826**3 * s_g) ** 0.25)
    assert found.scale[0, 1] == pytest.approx((1e-3 * s_g * s_g) ** 0.5)
    assert found.scale[0, 2] == pytest.approx(s_g)
    assert found.count.tolist() == [[3, 1, 0]]


def test_with_many_samples_a_cell_keeps_its_own_values() -> None:
    random = np.random.default_rng(0)
    energies = np.concatenate([random.normal(5, 2, 50_000), random.normal(-5, 0.5, 50_000)])
    columns = np.repeat([0, 1], 50_000)
    found = CellStatistics.fit(energies, np.zeros_like(columns), columns, (1, 2))
    assert found.median == pytest.approx(np.array([[5.0, -5.0]]), abs=0.05)
    assert found.scale == pytest.approx(np.array([[2.0, 0.5]]), rel=0.04)
    z = found.standardise_at(energies, np.zeros_like(columns), columns)
    assert np.std(z[columns == 1]) == pytest.approx(1.0, abs=0.05)


def test_outliers_hardly_move_them() -> None:
    energies, rows, columns = sample(2000)
    dirty = energies.copy()
    dirty[::20] += 1e6
    clean_fit, dirty_fit = (CellStatistics.fit(e, rows, columns, SHAPE) for e in (energies, dirty))
    assert np.abs(clean_fit.median - dirty_fit.median).max() < 2.0
    assert (dirty_fit.scale / clean_fit.scale).max() < 1.5


@given(st.permutations(range(60)))
@settings(deadline=None, max_examples=20)
def test_the_order_of_samples_does_not_matter(order: list[int]) -> None:
    energies, rows, columns = sample(60)
    one = CellStatistics.fit(energies, rows, columns, SHAPE)
    other = CellStatistics.fit(energies[order], rows[order], columns[order], SHAPE)
    assert one.median.tolist() == other.median.tolist()
    assert one.scale.tolist() == other.scale.tolist()


@given(st.floats(0.01, 100.0), st.floats(-100.0, 100.0))
@settings(deadline=None, max_examples=30)
def test_z_does_not_depend_on_unit_or_origin_of_the_energy(unit: float, origin: float) -> None:
    energies, rows, columns = sample(200)
    one = CellStatistics.fit(energies, rows, columns, SHAPE)
    other = CellStatistics.fit(energies * unit + origin, rows, columns, SHAPE)
    z = one.standardise(np.full(SHAPE, 25.0))
    assert other.standardise(np.full(SHAPE, 25.0 * unit + origin)) == pytest.approx(z, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 500])
def test_constant_energies_have_the_unit_of_the_energy_as_spread(size: int) -> None:
    found = CellStatistics.fit(
        np.full(size, 7.0), np.zeros(size, dtype=int), np.zeros(size, dtype=int), SHAPE, n0=0.0
    )
    assert (found.median == 7.0).all()
    assert found.global_scale == 1.0
    assert found.scale[1, 1] == 1.0
    assert found.scale[0, 0] == pytest.approx(1e-3)
    z = found.standardise(np.full(SHAPE, 8.0))
    assert np.isfinite(z).all()
    assert z[1, 1] == 1.0


def test_mostly_equal_energies_take_the_mean_deviation() -> None:
    energies = np.array([0.0] * 9 + [10.0])
    zeros = np.zeros(10, dtype=int)
    found = CellStatistics.fit(energies, zeros, zeros, (1, 1))
    assert found.global_scale == pytest.approx(np.sqrt(np.pi / 2) * 1.0)


def test_a_stack_of_maps_is_standardised_at_once() -> None:
    found = CellStatistics.fit(*sample(300), SHAPE)
    maps = np.random.default_rng(0).standard_normal((5, *SHAPE))
    assert found.standardise(maps)[2].tolist() == found.standardise(maps[2]).tolist()


def test_list_and_map_agree() -> None:
    energies, rows, columns = sample(50)
    found = CellStatistics.fit(energies, rows, columns, SHAPE)
    whole = np.zeros(SHAPE)
    whole[rows[0], columns[0]] = energies[0]
    z = found.standardise_at(energies, rows, columns)
    assert z[0] == found.standardise(whole)[rows[0], columns[0]]


def test_it_survives_its_file() -> None:
    found = CellStatistics.fit(*sample(300), SHAPE)
    again = CellStatistics.from_arrays(found.to_arrays())
    for name, array in found.to_arrays().items():
        assert again.to_arrays()[name].tolist() == array.tolist()
    assert again.shape == SHAPE


def test_footage_without_motion_is_refused() -> None:
    none = np.empty(0, dtype=np.int64)
    with pytest.raises(DataError, match="no cell was active"):
        CellStatistics.fit(np.empty(0), none, none, SHAPE)


@pytest.mark.parametrize(
    ("energies", "rows", "message"),
    [
        ([1.0, np.nan], [0, 0], "1 of 2 energies"),
        ([1.0, 2.0], [0, 3], "outside the grid of 3 x 4"),
        ([1.0, 2.0], [0, -1], "outside the grid"),
        ([1.0], [0, 0], "three equal lists"),
    ],
)
def test_broken_samples_are_refused(energies: list[float], rows: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CellStatistics.fit(np.array(energies), np.array(rows), np.array([0, 0]), SHAPE)


def test_a_map_of_another_size_is_refused() -> None:
    found = CellStatistics.fit(*sample(30), SHAPE)
    with pytest.raises(DataError, match="cells"):
        found.standardise(np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("median", lambda a: a * np.nan),
        ("scale", lambda a: a * 0),
        ("scale", lambda a: a[:2]),
        ("count", lambda a: a - 10_000),
        ("whole", lambda a: a[:1]),
    ],
)
def test_broken_files_are_refused(name: str, change: object) -> None:
    arrays = CellStatistics.fit(*sample(30), SHAPE).to_arrays()
    broken = {**arrays, name: change(arrays[name])}
    with pytest.raises(DataError):
        CellStatistics.from_arrays(broken)
    del broken[name]
    with pytest.raises(DataError, match="lack"):
        CellStatistics.from_arrays(broken)
