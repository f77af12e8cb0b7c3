"""What is learned while clips are left out: against a fit by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.mixtures import planted

from engines.errors import DataError
from trainer.cross_fit import cross_fit
from trainer.feature_points import Points, sample_points
from trainer.spherical_mixture import SphericalMixture, fit_spherical

GOOD = np.eye(8, dtype=np.float32)


def spheres(components: int, *, seed: int = 0) -> Callable[[Points, Points], SphericalMixture]:
    return lambda points, _: fit_spherical(points, components=components, seed=seed)


def test_energies_out_of_sample_are_larger_for_what_is_memorised() -> None:
    """Every clip has looks of its own: in sample they are learnt, out of sample they are new."""
    clips = [planted(200, 10, seed=seed)[0] for seed in range(6)]
    outside = cross_fit(clips, spheres(60), folds=3, seed=0).energies
    inside = fit_spherical(np.concatenate(clips), components=60, seed=0)
    assert [len(energies) for energies in outside] == [200] * 6
    for clip, energies in zip(clips, outside, strict=True):
        assert energies.dtype == np.float64
        assert energies.min() > inside.energy(clip).max()


def test_a_group_is_judged_by_a_mixture_of_the_other_folds() -> None:
    clips = [planted(100, 5, seed=seed)[0] for seed in range(5)]
    got = cross_fit(clips, spheres(8, seed=4), folds=2, seed=4)
    others = fit_spherical(np.concatenate(clips[1::2]), components=8, seed=4)
    for index in (0, 2, 4):
        np.testing.assert_array_equal(got.energies[index], others.energy(clips[index]))
        unseen = got.unseen[index]
        assert unseen is not None
        np.testing.assert_array_equal(unseen.means, others.means)
    assert got.unseen[1] is got.unseen[3] is not got.unseen[0]


def test_a_single_group_is_cut_in_blocks_of_time() -> None:
    z = np.concatenate([planted(100, 4, seed=seed)[0] for seed in range(4)])
    empty = z[:0]
    found = cross_fit([empty, z], spheres(20), folds=4, seed=0)
    energies = found.energies[1]
    assert found.unseen == [None, None]
    without_second = fit_spherical(np.concatenate([z[:100], z[200:]]), components=20, seed=0)
    np.testing.assert_array_equal(energies[100:200], without_second.energy(z[100:200]))
    assert len(cross_fit([z[:2]], spheres(3), folds=5, seed=0).energies[0]) == 2


def test_what_is_left_out_is_told_to_who_learns() -> None:
    clips = [np.full((5, 1), number, np.float32) for number in range(5)]
    told: list[tuple[set[float], set[float]]] = []

    def learn(points: Points, left_out: Points) -> SphericalMixture:
        told.append((set(points[:, 0].tolist()), set(left_out[:, 0].tolist())))
        return fit_spherical(points, components=1, seed=0)

    found = cross_fit(clips, learn, folds=2, seed=0)
    assert told == [({1, 3}, {0, 2, 4}), ({0, 2, 4}, {1, 3})]
    assert [found.unseen[n] for n in range(5)] == [found.learned[n % 2] for n in range(5)]


def test_samples_limit_what_is_learned_from() -> None:
    clips = [planted(300, 5, seed=seed)[0] for seed in range(4)]
    got = cross_fit(clips, spheres(5), folds=2, seed=0, max_points=100).energies
    sample = sample_points(clips[1::2], max_points=100, seed=0)
    expected = fit_spherical(sample, components=5, seed=0).energy(clips[0])
    np.testing.assert_array_equal(got[0], expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda: cross_fit([GOOD, GOOD], spheres(1), folds=1, seed=0),
        lambda: cross_fit([GOOD[:1]], spheres(1), folds=2, seed=0),
        lambda: cross_fit([GOOD, GOOD[:, :2]], spheres(1), folds=2, seed=0),
    ],
)
def test_what_cannot_be_crossed_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(DataError):
        call()
