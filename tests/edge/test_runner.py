"""Cells in pieces: every cell once, in order, and no piece larger than a network takes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.inputs import Cells
from edge.runner import energy_map, in_pieces

SIZES = st.lists(st.integers(0, 9), max_size=6)


def cells(size: int, camera: int) -> Cells:
    def cut(r: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.stack([r, c], axis=1).astype(np.float32)

    return Cells(np.arange(size), np.full(size, camera), (9, 6), warm_up=False, cut=cut)


@given(SIZES, st.none() | st.integers(1, 7))
def test_pieces_hold_every_cell_once_in_order(sizes: list[int], largest: int | None) -> None:
    given_cells = [cells(size, camera) for camera, size in enumerate(sizes)]
    pieces = list(in_pieces(given_cells, largest))
    rows = [one.gather() for piece in pieces for one in piece]
    expected = [(row, camera) for camera, size in enumerate(sizes) for row in range(size)]
    assert [tuple(row) for part in rows for row in part] == expected
    counts = [sum(len(one) for one in piece) for piece in pieces]
    assert all(len(one) for piece in pieces for one in piece)
    if largest is None:
        assert len(pieces) == bool(sum(sizes))
    else:
        assert all(count == largest for count in counts[:-1])
        assert all(0 < count <= largest for count in counts)


def nothing(r: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.zeros((len(r), 1), np.float32)


def test_energies_lie_where_their_cells_are() -> None:
    one = Cells(np.array([0, 2]), np.array([1, 0]), (3, 2), warm_up=True, cut=nothing, fresh=False)
    found = energy_map(one, np.array([4.0, -1.5]))
    np.testing.assert_array_equal(found.energy, [[0.0, 4.0], [0.0, 0.0], [-1.5, 0.0]])
    np.testing.assert_array_equal(found.active, [[False, True], [False, False], [True, False]])
    assert (found.warm_up, found.fresh) == (True, False)
