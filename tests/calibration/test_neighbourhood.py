"""Neighbourhood statistics: exact where the answer is known, shrunk where nothing was seen."""

import numpy as np
import pytest

from calibration.neighbourhood import SIGMAS_CELLS, fit_neighbourhood


def test_a_gradient_over_the_picture_is_followed() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.indices((40, 60)).reshape(2, -1).repeat(200, axis=1)
    energies = rng.normal(10.0 + columns * 0.1, 1.0)
    cells = fit_neighbourhood(energies, rows, columns, (40, 60), sigma_cells=4.0)
    # Away from the border, a symmetric window of a linear function has its centre's mean.
    inner = cells.median[20, 20:40]
    # Shrunk by 20 samples of the whole picture's mean against the 200 of each place.
    expected = (200 * (10.0 + np.arange(20, 40) * 0.1) + 20 * energies.mean()) / 220
    np.testing.assert_allclose(inner, expected, atol=0.03)
    # Own deviation 1, and 0.1 per cell over a window of 4 cells' deviation.
    spread = np.hypot(1.0, 0.4)
    whole = energies.std()
    assert cells.scale[20, 30] == pytest.approx(
        np.sqrt((200 * spread**2 + 20 * whole**2) / 220), rel=0.02
    )
    assert (cells.count == 200).all()


def checkerboard(each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours that differ by ten deviations, `each` samples a cell, in order of time."""
    rng = np.random.default_rng(1)
    rows, columns = (np.tile(axis.ravel(), each) for axis in np.indices((20, 20)))
    means = np.where((rows // 5 + columns // 5) % 2, 20.0, 10.0)
    return rng.normal(means, 1.0), rows, columns


def narrowness(energies: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """The sigma whose result is the chosen one."""
    chosen = fit_neighbourhood(energies, rows, columns, (20, 20)).median
    distance = {
        sigma: np.abs(
            fit_neighbourhood(energies, rows, columns, (20, 20), sigma_cells=sigma).median - chosen
        ).max()
        for sigma in SIGMAS_CELLS
    }
    return min(distance, key=lambda sigma: distance[sigma])


def test_places_that_differ_are_told_apart_where_there_is_footage_for_it() -> None:
    assert narrowness(*checkerboard(each=400)) == SIGMAS_CELLS[0]


def test_little_footage_of_a_slow_change_is_pooled_more_widely_than_much_of_it() -> None:
    def chosen(each: int) -> float:
        rng = np.random.default_rng(5)
        rows, columns = (np.tile(axis.ravel(), each) for axis in np.indices((20, 20)))
        return narrowness(rng.normal(10.0 + 0.5 * columns, 1.0), rows, columns)

    assert chosen(each=1) >= 2.0
    assert chosen(each=1) > chosen(each=1000) == SIGMAS_CELLS[0]


def test_where_nothing_moved_the_whole_picture_speaks() -> None:
    energies = np.array([1.0, 3.0] * 500)
    rows = np.zeros(1000, np.int64)
    columns = np.zeros(1000, np.int64)
    cells = fit_neighbourhood(energies, rows, columns, (50, 50))
    assert cells.median[49, 49] == pytest.approx(2.0)
    assert cells.scale[49, 49] == pytest.approx(1.0)
    assert cells.global_median == 2.0


def test_equal_energies_give_a_positive_spread() -> None:
    cells = fit_neighbourhood(np.full(9, 5.0), np.arange(9), np.arange(9), (9, 9))
    assert (cells.scale > 0.0).all()
    assert np.isfinite(cells.median).all()


def test_a_single_sample_is_enough() -> None:
    cells = fit_neighbourhood(np.array([3.0]), np.array([1]), np.array([1]), (4, 4))
    assert cells.median[0, 0] == pytest.approx(3.0)
