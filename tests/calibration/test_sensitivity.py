"""Sensitivity compared: against closed forms, and against the definition by search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sites import statistics

from calibration.sensitivity import CELL_RISE, MEAN_RISE, Change, compare, z_at
from calibration.stream_statistics import StreamStatistics

TAIL = statistics().tail


@settings(max_examples=100)
@given(st.floats(0.001, 60))
def test_z_at_is_the_inverse_of_the_surprise(surprise: float) -> None:
    z = z_at(TAIL, surprise)
    assert float(TAIL.surprise(np.array([z]))[0]) == pytest.approx(surprise, rel=1e-9)


def moved(one: StreamStatistics, *, centre: float = 0.0, spread: float = 1.0) -> StreamStatistics:
    """Other centres and spreads, the same tail."""
    cells = one.cells
    other = type(cells)(
        median=cells.median + centre * cells.scale,
        scale=cells.scale * spread,
        count=cells.count,
        global_median=cells.global_median,
        global_scale=cells.global_scale,
    )
    return StreamStatistics(other, one.tail, one.smallest_energy)


@pytest.mark.parametrize(
    ("mode", "old", "new", "centre", "spread", "rise"),
    [
        ("z", 3.0, 3.0, 0.0, 1.0, 0.0),
        ("z", 3.0, 4.5, 0.0, 1.0, 1.5),  # higher threshold: so many spreads
        ("z", 3.0, 2.0, 0.0, 1.0, -1.0),
        ("z", 3.0, 3.0, 0.5, 1.0, 0.5),  # higher centre
        ("z", 3.0, 3.0, 0.0, 2.0, 3.0),  # twice the spread
        ("z", 3.0, 1.0, 0.5, 2.0, -0.5),  # 0.5 + 2 * 1 - 3
    ],
)
def test_rises_are_what_the_formula_says(
    mode: str, old: float, new: float, centre: float, spread: float, rise: float
) -> None:
    one = statistics()
    other = moved(one, centre=centre, spread=spread)
    change = compare({"s": one}, old, {"s": other}, new, mode=mode)["s"]
    assert change.mean_rise == pytest.approx(rise, abs=1e-9)
    assert change.worst_rise == pytest.approx(rise, abs=1e-9)
    assert change.share_less == (1.0 if rise > CELL_RISE else 0.0)


def test_in_surprise_the_unit_is_the_tail_s() -> None:
    one = statistics()
    change = compare({"s": one}, 2.0, {"s": one}, 3.0, mode="surprise")["s"]
    assert change.mean_rise == pytest.approx(z_at(one.tail, 3.0) - z_at(one.tail, 2.0))
    assert change.less_sensitive


def test_in_paper_mode_energies_themselves_are_compared() -> None:
    one = statistics(spread=2.0)
    change = compare({"s": one}, 10.0, {"s": moved(one, spread=9.0)}, 12.0, mode="paper")["s"]
    np.testing.assert_allclose(change.mean_rise, (2.0 / one.cells.scale).mean())


def test_what_counts_as_less_sensitive() -> None:
    assert not Change(MEAN_RISE, 0.9, 0.05).less_sensitive
    assert Change(MEAN_RISE + 0.01, 0.9, 0.0).less_sensitive
    assert Change(-1.0, 4.0, 0.2).less_sensitive  # blind corners do not average out
    assert not Change(-1.0, 0.0, 0.0).less_sensitive
