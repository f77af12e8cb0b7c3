"""Energy, fusion, pooling and smoothing against second implementations and hand-worked numbers."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from edge.frames import EnergyMap, StreamScore
from edge.scoring.energy import MixtureEnergy, SphericalTerms, mixture_terms
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


def unit_vectors(n: int, j: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, j))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def many_spheres(k: int = 300, j: int = 192, variance: float = 4e-4) -> dict[str, np.ndarray]:
    weights = np.random.default_rng(3).dirichlet(np.full(k, 5.0))
    variances = np.array([variance], np.float32)
    return {"weights": weights, "means": unit_vectors(k, j, 4), "variances": variances}


def near_spheres(arrays: dict[str, np.ndarray], seed: int = 5) -> np.ndarray:
    """Unit-length float32 points around the centres, and as many anywhere on the sphere."""
    means = arrays["means"].astype(np.float64)
    noise = np.random.default_rng(seed).normal(size=means.shape)
    near = means + np.sqrt(arrays["variances"]).max() * noise
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return np.concatenate([near, unit_vectors(*means.shape, seed)]).astype(np.float32)


def brute_force(arrays: dict[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    """Eq. (17) for spheres with every difference taken, in float64."""
    means, z = arrays["means"].astype(np.float64), z.astype(np.float64)
    variance = np.broadcast_to(arrays["variances"].astype(np.float64), len(means))
    squares = np.stack([((z - mean) ** 2).sum(1) for mean in means], 1)
    log_density = -0.5 * (means.shape[1] * np.log(2 * np.pi * variance) + squares / variance)
    return -logsumexp(np.log(arrays["weights"].astype(np.float64)) + log_density, axis=1)


@pytest.mark.parametrize("kind", ["one", "scalar", "each"])
def test_spherical_energy_is_right_to_1e_4_on_unit_vectors(kind: str) -> None:
    arrays = many_spheres()
    if kind == "scalar":
        arrays["variances"] = np.float64(4e-4)
    if kind == "each":
        arrays["variances"] = np.random.default_rng(6).uniform(2e-4, 6e-4, 300)
    z = near_spheres(arrays)
    energy = MixtureEnergy.from_arrays(arrays).energy(z)
    assert energy.dtype == np.float64
    np.testing.assert_allclose(energy, brute_force(arrays, z), rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("variance", [1e-4, 1e-6, 1e-9])
def test_spherical_energy_keeps_its_precision_where_components_are_tiny(variance: float) -> None:
    """The squares cancel ever more; what is lost stays far below the scatter of sqrt(J/2)."""
    arrays = many_spheres(variance=variance)
    z = near_spheres(arrays) * np.float32(1.001)
    energy = MixtureEnergy.from_arrays(arrays).energy(z)
    np.testing.assert_allclose(energy, brute_force(arrays, z), rtol=1e-6, atol=0.04)


def test_spherical_energy_does_not_lose_digits_far_from_the_origin() -> None:
    arrays = many_spheres()
    z = near_spheres(arrays).astype(np.float64)
    moved = {**arrays, "means": arrays["means"] + 1000.0}
    near = MixtureEnergy.from_arrays(arrays).energy(z)
    far = MixtureEnergy.from_arrays(moved).energy(z + 1000.0)
    np.testing.assert_allclose(far, near, rtol=1e-4)
    terms = mixture_terms(moved)
    assert isinstance(terms, SphericalTerms)
    assert terms.directions.dtype == np.float32  # right, and fast as well


def test_spherical_energy_equals_scikit_learns_score() -> None:
    data = np.random.default_rng(0).normal(size=(800, 5)) + 3.0 * np.eye(5)[np.arange(800) % 5]
    model = GaussianMixture(3, covariance_type="spherical", random_state=0).fit(data)
    arrays = {"weights": model.weights_, "means": model.means_, "variances": model.covariances_}
    energy = MixtureEnergy.from_arrays(arrays).energy(data)
    np.testing.assert_allclose(energy, -model.score_samples(data), rtol=1e-5)


def test_equal_spheres_written_as_diagonals_have_the_same_energy() -> None:
    arrays = many_spheres(k=20)
    z = near_spheres(arrays)
    diagonal = {**arrays, "variances": np.full((20, 192), arrays["variances"][0])}
    np.testing.assert_allclose(
        MixtureEnergy.from_arrays(arrays).energy(z),
        MixtureEnergy.from_arrays(diagonal).energy(z),
        rtol=1e-5,
        atol=0.01,
    )


def test_half_precision_means_move_an_energy_by_less_than_a_hundredth_of_its_scatter() -> None:
    arrays = many_spheres()
    z = near_spheres(arrays)
    half = {**arrays, "means": arrays["means"].astype(np.float16)}
    plain = MixtureEnergy.from_arrays(arrays).energy(z)
    stored = MixtureEnergy.from_arrays(half).energy(z)
    near = slice(0, 300)
    assert np.abs(stored - plain)[near].max() < 0.01 * plain[near].std()
    np.testing.assert_allclose(stored, plain, rtol=1e-3, atol=0.1)


def test_order_of_spheres_and_size_of_batches_change_nothing() -> None:
    arrays = many_spheres()
    z = near_spheres(arrays)
    plain = MixtureEnergy.from_arrays(arrays).energy(z)
    order = np.random.default_rng(0).permutation(300)
    permuted = {**arrays, "weights": arrays["weights"][order], "means": arrays["means"][order]}
    np.testing.assert_allclose(MixtureEnergy.from_arrays(permuted).energy(z), plain, atol=0.01)
    one_by_one = [
        MixtureEnergy.from_arrays(arrays).energy(z[i : i + 1])[0] for i in range(0, 600, 60)
    ]
    np.testing.assert_allclose(one_by_one, plain[::60], atol=0.01)


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
        ({"variances": np.ones(2)}, "disagree"),
        ({"variances": np.ones((3, 6, 6))}, "disagree"),
        ({"variances": np.array([-1.0])}, "zero or negative"),
        ({"variances": np.ones(1), "means": np.zeros(3)}, "disagree"),
        ({"variances": np.array(np.inf)}, "not finite"),
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
    fused = fuse(scores, streams, {}, fusion=FusionSpec(), shape=(1, 3))
    np.testing.assert_allclose(fused, [[0.25 * 4 + 0.75 * 2, 4.0, 0.0]])
    z = fuse(scores, streams, {}, fusion=FusionSpec(mode="z"), shape=(1, 3))
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


@pytest.mark.parametrize("kind", ["trailing_median", "trailing_mean"])
def test_a_window_below_the_tolerance_of_times_holds_the_newest_score(kind: str) -> None:
    smoother = Smoother(SmoothingSpec(kind=kind, seconds=1e-7))
    assert [smoother.update(0.1 * i, float(i)) for i in range(3)] == [0.0, 1.0, 2.0]
