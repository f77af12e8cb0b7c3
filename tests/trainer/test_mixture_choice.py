"""How large a mixture, and what it says of unseen footage: planted truths, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.mixtures import planted

from engines.errors import DataError
from trainer.feature_points import sample_points
from trainer.mixture_choice import choose_components, cross_fit, fitter
from trainer.spherical_mixture import fit_spherical

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


def test_energies_out_of_sample_are_larger_for_what_is_memorised() -> None:
    """Every clip has looks of its own: in sample they are learnt, out of sample they are new."""
    clips = [planted(200, 10, seed=seed)[0] for seed in range(6)]
    outside = cross_fit(clips, SPHERES, folds=3, components=60, seed=0).energies
    inside = fit_spherical(np.concatenate(clips), components=60, seed=0)
    assert [len(energies) for energies in outside] == [200] * 6
    for clip, energies in zip(clips, outside, strict=True):
        assert energies.dtype == np.float64
        assert energies.min() > inside.energy(clip).max()


def test_a_group_is_judged_by_a_mixture_of_the_other_folds() -> None:
    clips = [planted(100, 5, seed=seed)[0] for seed in range(5)]
    got = cross_fit(clips, fitter("spherical", seed=4), folds=2, components=8, seed=4)
    others = fit_spherical(np.concatenate(clips[1::2]), components=8, seed=4)
    for index in (0, 2, 4):
        np.testing.assert_array_equal(got.energies[index], others.energy(clips[index]))
        unseen = got.unseen[index]
        assert unseen is not None
        np.testing.assert_array_equal(unseen.arrays()["means"], others.arrays()["means"])
    assert got.unseen[1] is got.unseen[3] is not got.unseen[0]


def test_a_single_group_is_cut_in_blocks_of_time() -> None:
    z = np.concatenate([planted(100, 4, seed=seed)[0] for seed in range(4)])
    empty = z[:0]
    found = cross_fit([empty, z], SPHERES, folds=4, components=20, seed=0)
    energies = found.energies[1]
    assert found.unseen == [None, None]
    without_second = fit_spherical(np.concatenate([z[:100], z[200:]]), components=20, seed=0)
    np.testing.assert_array_equal(energies[100:200], without_second.energy(z[100:200]))
    assert len(cross_fit([z[:2]], SPHERES, folds=5, components=3, seed=0).energies[0]) == 2


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
    got = cross_fit(clips, SPHERES, folds=2, components=5, seed=0, max_points=100).energies
    sample = sample_points(clips[1::2], max_points=100, seed=0)
    expected = fit_spherical(sample, components=5, seed=0).energy(clips[0])
    np.testing.assert_array_equal(got[0], expected)
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
        lambda: cross_fit([GOOD, GOOD], SPHERES, folds=1, components=1, seed=0),
        lambda: cross_fit([GOOD[:1]], SPHERES, folds=2, components=1, seed=0),
        lambda: cross_fit([GOOD, GOOD[:, :2]], SPHERES, folds=2, components=1, seed=0),
        lambda: sample_points([GOOD], max_points=0, seed=0),
    ],
)
def test_what_cannot_be_fitted_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(DataError):
        call()
