"""Which ways things go where: counts with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.scoring.heads import PlaceHead
from engines.errors import DataError
from trainer.direction_table import (
    BINS,
    PRIOR_COUNTS,
    Directions,
    count_directions,
    cross_energies,
    head_arrays,
    heads_without,
    log_density,
)

SHAPE = (35, 53)
RIGHT, DOWN, LEFT = 0.0, 0.25, 0.5
LANE, BOTH, NOWHERE = 6, 18, 32  # rows: one way, two ways, nobody


def cells(row: int, turns: float) -> np.ndarray:
    """Features of a thing on all columns of three rows around `row`."""
    rows, columns = (a.ravel() for a in np.mgrid[row - 1 : row + 2, 0 : SHAPE[1]])
    return np.stack([rows, columns, np.full(rows.shape, turns)], axis=1).astype(np.float32)


def footage(seconds: float, fps: float = 10.0) -> np.ndarray:
    """Counts of a street: the lane goes right, below it people go both ways."""
    total = np.zeros((*SHAPE, BINS))
    for n in range(round(seconds * fps)):
        way = RIGHT if n % 2 else LEFT
        for features in (cells(LANE, RIGHT), cells(BOTH, way)):
            total += count_directions(features, 1.0 / fps, shape=SHAPE)
    return total


def energy(counts: np.ndarray, row: int, turns: float) -> float:
    head = PlaceHead(**head_arrays([counts]))
    return float(head.energy(np.array([[row, 26, turns]], np.float32))[0])


def test_against_a_one_way_lane_is_rare_and_along_it_is_common() -> None:
    counts = footage(60.0)
    assert energy(counts, LANE, LEFT) > 2.5
    assert energy(counts, LANE, DOWN) > 2.5
    assert energy(counts, LANE, RIGHT) < -1.5


def test_where_people_go_both_ways_neither_is_rare() -> None:
    counts = footage(60.0)
    assert energy(counts, BOTH, LEFT) < -1.0
    assert energy(counts, BOTH, RIGHT) < -1.0
    assert energy(counts, BOTH, DOWN) > 2.5


def test_a_place_that_nobody_visited_says_nothing() -> None:
    counts = footage(60.0)
    for turns in np.linspace(0, 1, 25):
        assert energy(counts, NOWHERE, turns) == pytest.approx(0.0, abs=1e-3)
        assert energy(np.zeros_like(counts), LANE, turns) == 0.0


def test_energy_grows_with_the_evidence() -> None:
    found = [energy(footage(seconds), LANE, LEFT) for seconds in (0.0, 1.0, 4.0, 16.0, 64.0)]
    assert found == sorted(found)
    assert found[0] == 0.0
    assert found[1] < 0.5
    # A whole picture of one way: nothing is lost to the places around.
    everywhere = np.zeros((*SHAPE, BINS))
    everywhere[..., 0] = 10.0
    assert energy(everywhere, LANE, LEFT) == pytest.approx(np.log1p(10 / PRIOR_COUNTS), rel=1e-2)


def test_counts_are_seconds_at_any_frame_rate() -> None:
    np.testing.assert_allclose(footage(4.0, 10.0), footage(4.0, 30.0), atol=0.1)
    one = count_directions(cells(LANE, RIGHT), 0.1, shape=SHAPE)
    assert one.sum() == pytest.approx(0.1 * 3 * SHAPE[1])
    gap = count_directions(cells(LANE, RIGHT), 60.0, shape=SHAPE)
    assert gap.max() == 1.0


def test_a_direction_between_two_bins_is_shared() -> None:
    counts = count_directions(np.array([[2, 3, 1.0 - 0.25 / BINS]], np.float32), 1.0, shape=SHAPE)
    assert counts[2, 3, BINS - 1] == pytest.approx(0.25, abs=1e-5)
    assert counts[2, 3, 0] == pytest.approx(0.75, abs=1e-5)
    assert counts.sum() == pytest.approx(1.0)


@given(seed=st.integers(0, 999), shift=st.integers(0, BINS))
@settings(max_examples=25, deadline=None)
def test_rotating_everything_by_a_bin_rotates_the_table(seed: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, 9, 40), rng.integers(0, 12, 40)
    turns = rng.random(40)

    def table(angles: np.ndarray) -> np.ndarray:
        features = np.stack([rows, columns, angles], axis=1).astype(np.float32)
        return log_density(count_directions(features, 1.0, shape=(9, 12)))

    rotated = table((turns + shift / BINS) % 1.0)
    np.testing.assert_allclose(rotated, np.roll(table(turns), shift, axis=2), atol=1e-4)


def test_a_table_is_a_density_against_the_uniform_one() -> None:
    density = np.exp(log_density(footage(8.0)))
    np.testing.assert_allclose(density.mean(axis=2), 1.0, rtol=1e-5)
    (array,) = head_arrays([footage(8.0)]).values()
    assert array.dtype == np.float16
    assert array.shape == (*SHAPE, BINS)


def stretch(fold: int, turns: float) -> Directions:
    counts = 20.0 * count_directions(cells(LANE, turns), 1.0, shape=SHAPE)
    return Directions(fold, counts, cells(LANE, turns))


def test_energies_are_of_a_table_that_has_not_seen_the_fold() -> None:
    stretches = [stretch(0, LEFT), stretch(1, RIGHT), stretch(2, RIGHT), stretch(0, LEFT)]
    only, right, same, also = cross_energies(stretches, heads_without(stretches))
    assert only.shape == (3 * SHAPE[1],)
    assert only.min() > 1.5  # nobody else went there, though its own fold did, twice
    np.testing.assert_array_equal(only, also)
    np.testing.assert_array_equal(right, same)
    assert right.max() < 0.0
    seen = PlaceHead(**head_arrays([one.counts for one in stretches])).energy(stretches[0].features)
    assert seen.max() < 0.0


def test_too_little_footage_is_refused() -> None:
    with pytest.raises(DataError, match="two folds"):
        heads_without([stretch(0, LEFT), stretch(0, RIGHT)])
    with pytest.raises(DataError, match="no footage"):
        head_arrays([])
