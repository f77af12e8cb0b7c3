"""How large a mixture: planted truths, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.mixtures import planted

from engines.errors import DataError
from trainer.feature_points import sample_points
from trainer.mixture_choice import choose_components, fitter

SPHERES = fitter("spherical", seed=0)
GOOD = np.eye(8, dtype=np.float32)


def test_a_tie_goes_to_the_smaller_mixture() -> None:
    z = np.tile(np.eye(3, 5, dtype=np.float32), (40, 1))  # ten components end as three
    choice = choose_components(np.array_split(z, 4), SPHERES, largest=10, seed=0)
    assert choice.held_out[10] == pytest.approx(choice.held_out[3])
    assert choice.components == 3


def test_three_clusters_and_little_footage_give_a_small_mixture() -> None:
    z, _ = planted(240, 3)
    choice = choose_components(np.array_split(z, 4), SPHERES, largest=1000, seed=0)
    assert max(choice.held_out) == 180 // 8
    assert list(choice.held_out) == [22, 7, 2, 1]
    assert choice.components == 7  # of what was tried, the smallest that has all three clusters
    few = choose_components([z[:20], z[20:40]], SPHERES, largest=1000, seed=0)
    assert few.components <= 2
    alone = choose_components([z[:3]], SPHERES, largest=1000, seed=0)
    assert alone.components == 1


def test_many_clusters_and_much_footage_give_a_large_mixture() -> None:
    z, _ = planted(8000, 100, latent=32)
    choice = choose_components(np.array_split(z, 4), SPHERES, largest=300, seed=0, rounds=1)
    assert list(choice.held_out) == [300, 100, 30, 10, 3, 1]
    assert choice.components >= 100
    assert choice.held_out[choice.components] > choice.held_out[30] + 10


def test_where_components_do_not_help_one_is_chosen() -> None:
    z = np.random.default_rng(0).normal(size=(2000, 40)).astype(np.float32)
    assert choose_components(np.array_split(z, 4), SPHERES, largest=200, seed=0).components == 1


def test_samples_are_spread_evenly_and_repeat_nothing() -> None:
    sizes = [1000, 0, 10, 3000]
    starts = np.cumsum([0, *sizes[:-1]])
    groups = [
        (start + np.arange(size, dtype=np.float32))[:, None]
        for start, size in zip(starts, sizes, strict=True)
    ]
    sample = sample_points(groups, max_points=401, seed=0)[:, 0]
    assert len(sample) == len(set(sample)) == 401
    for start, size in zip(starts, sizes, strict=True):
        taken = ((sample >= start) & (sample < start + size)).sum()
        assert abs(taken - 401 * size / 4010) <= 1
    np.testing.assert_array_equal(sample, sample_points(groups, max_points=401, seed=0)[:, 0])
    assert not np.array_equal(sample, sample_points(groups, max_points=401, seed=1)[:, 0])
    assert len(sample_points(groups, max_points=9999, seed=0)) == 4010
    # No step in step with the cells of a frame: every one of eight cells is drawn.
    assert len(set(sample_points(groups[3:], max_points=375, seed=0)[:, 0] % 8)) == 8


def test_samples_limit_what_is_fitted() -> None:
    clips = [planted(300, 5, seed=seed)[0] for seed in range(4)]
    choice = choose_components(clips, SPHERES, largest=1000, seed=0, max_points=100)
    assert max(choice.held_out) == 100 // 8


@pytest.mark.parametrize(
    "call",
    [
        lambda: choose_components([GOOD, GOOD[:, :3]], SPHERES, largest=2, seed=0),
        lambda: choose_components([], SPHERES, largest=2, seed=0),
        lambda: choose_components([GOOD[:1]], SPHERES, largest=2, seed=0),
        lambda: choose_components([GOOD, GOOD], SPHERES, largest=0, seed=0),
        lambda: choose_components([GOOD, GOOD], SPHERES, largest=1, rounds=0, seed=0),
        lambda: sample_points([GOOD], max_points=0, seed=0),
    ],
)
def test_what_cannot_be_fitted_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(DataError):
        call()
