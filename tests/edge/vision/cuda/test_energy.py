"""Mixture energies on the device against the CPU's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.scoring import energy as cpu
from edge.vision.cuda.device import Device
from edge.vision.cuda.energy import MixtureEnergy
from engines.errors import DataError


def mixture(kind: str, components: int, dimensions: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 1.5, components)
    arrays = {
        "weights": weights / weights.sum(),
        "means": rng.normal(0.0, 2.0, (components, dimensions)),
    }
    if kind == "diagonal":
        arrays["variances"] = rng.uniform(0.2, 3.0, (components, dimensions))
    elif kind == "full":
        factor = np.triu(rng.normal(0.0, 0.3, (components, dimensions, dimensions)), 1)
        arrays["precision_cholesky"] = factor + np.eye(dimensions) * rng.uniform(0.5, 2.0)
    else:
        # Below 2e-5 of the largest square both sides go on in double.
        low = 1e-6 if kind == "tiny spheres" else 0.5
        arrays["variances"] = rng.uniform(low, 2.0 * low, components)
    return arrays


@pytest.mark.parametrize("kind", ["diagonal", "full", "spheres", "tiny spheres"])
@given(
    count=st.integers(0, 9),
    components=st.integers(1, 20),
    dimensions=st.integers(1, 150),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_energy_is_the_twins(
    device: Device, kind: str, count: int, components: int, dimensions: int, seed: int
) -> None:
    arrays = mixture(kind, components, dimensions, seed)
    z = np.random.default_rng(seed + 1).normal(0.0, 2.0, (count, dimensions)).astype(np.float32)
    ours = MixtureEnergy(device, arrays)
    assert ours.dimensions == dimensions
    result = ours.energy(z)
    expected = cpu.MixtureEnergy.from_arrays(arrays).energy(z)
    assert (result.shape, result.dtype) == ((count,), np.float64)
    tolerance = 1e-4 if kind == "spheres" else 1e-9
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=1e-3 * tolerance / 1e-4)


@pytest.mark.parametrize("kind", ["diagonal", "full", "spheres", "tiny spheres"])
def test_energy_does_not_depend_on_the_order_of_threads(any_order: Device, kind: str) -> None:
    arrays = mixture(kind, 7, 130, seed=5)
    z = np.random.default_rng(6).normal(0.0, 2.0, (3, 130)).astype(np.float32)
    expected = cpu.MixtureEnergy.from_arrays(arrays).energy(z)
    np.testing.assert_allclose(MixtureEnergy(any_order, arrays).energy(z), expected, rtol=1e-4)


def test_far_away_the_energy_stays_finite(device: Device) -> None:
    arrays = mixture("diagonal", 3, 64, seed=0)
    z = np.full((1, 64), 1e3, np.float32)
    result = MixtureEnergy(device, arrays).energy(z)
    np.testing.assert_allclose(result, cpu.MixtureEnergy.from_arrays(arrays).energy(z), rtol=1e-12)
    assert np.isfinite(result).all()


def test_vectors_of_another_length_are_refused(device: Device) -> None:
    energy = MixtureEnergy(device, mixture("full", 2, 5, seed=0))
    with pytest.raises(DataError, match="N x 5"):
        energy.energy(np.zeros((3, 6), np.float32))


def test_a_damaged_head_is_refused(device: Device) -> None:
    with pytest.raises(DataError, match="needs weights"):
        MixtureEnergy(device, {"weights": np.ones(1)})
