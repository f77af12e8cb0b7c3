"""Energy, fusion, pooling and smoothing against second implementations and hand-worked numbers."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from edge.frames import EnergyMap, StreamScore
from edge.scoring.energy import MixtureEnergy
from edge.scoring.fusion import fuse, pool, read_at
from edge.scoring.heads import open_head
from edge.scoring.smooth import Smoother
from engines.errors import DataError
from engines.model_spec import FusionSpec, HeadSpec, InputSpec, SmoothingSpec, StreamSpec


def random_mixture(k: int, j: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(k))
    return {
        "weights": weights,
        "means": rng.normal(size=(k, j)),
        "variances": rng.uniform(0.2, 2.0, (k, j)),
    }


def test_energy_is_minus_the_log_density() -> None:
    arrays = random_mixture(4, 3)
    z = np.random.default_rng(1).normal(size=(600, 3))
    density = sum(
        weight * multivariate_normal(mean, np.diag(variance)).pdf(z)
        for weight, mean, variance in zip(
            arrays["weights"], arrays["means"], arrays["variances"], strict=True
        )
    )
    energy = MixtureEnergy.from_arrays(arrays).energy(z.astype(np.float64))
    np.testing.assert_allclose(energy, -np.log(density), rtol=1e-9)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_energy_equals_scikit_learns_score(covariance: str) -> None:
    data = np.random.default_rng(0).normal(size=(800, 5)) @ np.random.default_rng(1).normal(
        size=(5, 5)
    )
    model = GaussianMixture(3, covariance_type=covariance, random_state=0).fit(data)
    arrays = {"weights": model.weights_, "means": model.means_}
    if covariance == "full":
        arrays["precision_cholesky"] = model.precisions_cholesky_
    else:
        arrays["variances"] = model.covariances_
    energy = MixtureEnergy.from_arrays(arrays).energy(data)
    np.testing.assert_allclose(energy, -model.score_samples(data), rtol=1e-9)


def test_energy_is_finite_where_every_density_underflows() -> None:
    arrays = random_mixture(5, 64)
    near, far = MixtureEnergy.from_arrays(arrays).energy(np.array([[0.0] * 64, [1e3] * 64]))
    assert np.isfinite([near, far]).all()
    assert far > near


def test_order_and_splitting_of_components_change_nothing() -> None:
    arrays = random_mixture(3, 6)
    z = np.random.default_rng(2).normal(size=(50, 6))
    plain = MixtureEnergy.from_arrays(arrays).energy(z)
    order = [2, 0, 1]
    permuted = {key: value[order] for key, value in arrays.items()}
    np.testing.assert_allclose(MixtureEnergy.from_arrays(permuted).energy(z), plain, rtol=1e-12)
    split = {key: value[[0, 0, 1, 2]] for key, value in arrays.items()}
    split["weights"][:2] /= 2
    np.testing.assert_allclose(MixtureEnergy.from_arrays(split).energy(z), plain, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variances": np.zeros((3, 6))}, "zero or negative"),
        ({"weights": np.array([0.5, 0.5, 0.5])}, "sum to 1"),
        ({"weights": np.array([1.0, 0.0, 0.0])}, "positive"),
        ({"means": np.zeros((3, 5))}, "disagree"),
    ],
)
def test_a_broken_mixture_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MixtureEnergy.from_arrays({**random_mixture(3, 6), **change})


def test_heads_by_kind() -> None:
    identity = open_head(HeadSpec(kind="identity"), {})
    np.testing.assert_array_equal(identity.energy(np.array([[3.0], [4.0]], np.float32)), [3, 4])
    with pytest.raises(DataError, match="crystal_ball"):
        open_head(HeadSpec(kind="crystal_ball"), {})
    with pytest.raises(DataError, match="needs weights"):
        open_head(HeadSpec(kind="mixture"), {"means": np.zeros((2, 2))})


def stream(name: str, weight: float) -> StreamSpec:
    return StreamSpec(
        name=name,
        input=InputSpec(kind="appearance"),
        head=HeadSpec(kind="identity"),
        statistics="s.npz",
        weight=weight,
    )


def score(surprise: list[list[float]], active: list[list[bool]]) -> StreamScore:
    grid = np.array(surprise)
    energy = EnergyMap(energy=10 * grid, active=np.array(active))
    return StreamScore(energy=energy, z=2 * grid, surprise=grid)


def test_where_one_stream_has_no_value_the_other_counts_alone() -> None:
    scores = {
        "a": score([[4.0, 4.0, 0.0]], [[True, True, False]]),
        "b": score([[2.0, 0.0, 0.0]], [[True, False, False]]),
    }
    streams = (stream("a", 0.25), stream("b", 0.75))
    fused = fuse(scores, streams, {}, mode="surprise", shape=(1, 3))
    np.testing.assert_allclose(fused, [[0.25 * 4 + 0.75 * 2, 4.0, 0.0]])
    z = fuse(scores, streams, {}, mode="z", shape=(1, 3))
    np.testing.assert_allclose(z, 2 * fused)


def test_maps_of_different_size_meet_at_the_cell_centres() -> None:
    np.testing.assert_array_equal(
        read_at(np.array([[1, 2], [3, 4]]), (4, 4)),
        [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]],
    )
    np.testing.assert_array_equal(read_at(np.arange(6).reshape(1, 6), (1, 3)), [[1, 3, 5]])


def test_pooling_spreads_the_map_and_averages_the_top_cells() -> None:
    fused = np.zeros((5, 5))
    fused[2, 2], fused[0, 0] = 4.0, 2.0
    pooled, top = pool(fused, FusionSpec(spatial_max=3, top_cells=2))
    assert top == 3.0
    assert (pooled[1:4, 1:4] == 4.0).all()
    assert pooled[0, 0] == 2.0
    assert pooled[4, 4] == 0.0
    assert pool(fused, FusionSpec())[1] == 4.0


def test_smoothers_are_causal_and_count_in_seconds() -> None:
    scores = [0.0, 0.0, 9.0, 0.0, 5.0, 6.0, 7.0]
    median = Smoother(SmoothingSpec(kind="trailing_median", seconds=0.3))
    got = [median.update(i / 10, value) for i, value in enumerate(scores)]
    assert got == [0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 6.0]
    mean = Smoother(SmoothingSpec(kind="trailing_mean", seconds=0.2))
    assert [mean.update(i / 10, v) for i, v in enumerate(scores)][-1] == 6.5
    exponential = Smoother(SmoothingSpec(kind="exponential", seconds=0.1))
    exponential.update(0.0, 0.0)
    assert exponential.update(0.1, 1.0) == pytest.approx(1 - np.exp(-1))
    exponential.reset()
    assert exponential.update(5.0, 3.0) == 3.0
    none = Smoother(SmoothingSpec())
    assert none.update(0.0, 8.0) == 8.0
