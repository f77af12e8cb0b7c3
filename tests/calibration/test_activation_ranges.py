"""INT8 ranges against brute force and closed forms."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from support.small_networks import convolutional, patches

from calibration.activation_ranges import (
    BINS,
    PERCENTILE,
    activation_ranges,
    size_histogram,
)
from engines.errors import DataError
from engines.qdq_network import LEVELS, SMALLEST_SCALE

NETWORK = convolutional(spike=20.0)
PATCHES = patches(40)


def activation(name: str) -> np.ndarray:
    model = onnx.load_from_string(NETWORK)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([name], {"patches": PATCHES})[0])


def error_of(values: np.ndarray, step: float) -> float:
    rounded = np.clip(np.rint(values / step), -LEVELS, LEVELS) * step
    return float(((values - rounded) ** 2).mean())


def test_max_is_the_largest_size_and_means_are_per_channel() -> None:
    found = activation_ranges(NETWORK, PATCHES, ["patches", "a", "e"], method="max", threads=1)
    for name, values in (("patches", PATCHES), ("a", activation("a")), ("e", activation("e"))):
        assert found[name].step == pytest.approx(np.abs(values).max() / 127, rel=1e-6)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        np.testing.assert_allclose(found[name].means, values.mean(axis=axes), rtol=1e-4)


def test_mse_is_as_good_as_trying_every_step_on_the_values_themselves() -> None:
    values = activation("a").astype(np.float64)
    step = activation_ranges(NETWORK, PATCHES, ["a"], threads=1)["a"].step
    largest = np.abs(values).max()
    best = min(error_of(values, f * largest / LEVELS) for f in np.linspace(0.1, 1.0, 181))
    assert error_of(values, step) <= 1.02 * best
    assert error_of(values, step) <= error_of(values, largest / LEVELS)


def test_percentile_clips_a_hundred_thousandth() -> None:
    values = np.abs(np.tile(PATCHES, (20, 1, 1, 1)))
    values[0, 0, 0, 0] = 9.0  # one of 153600 values: clipped
    found = activation_ranges(NETWORK, values, ["patches"], method="percentile", threads=1)
    step = found["patches"].step
    assert step * LEVELS < 1.1
    bin_size = float(values.max()) / BINS
    edge = float(np.quantile(values, PERCENTILE, method="higher"))
    assert step * LEVELS == pytest.approx(edge, abs=2 * bin_size)


def test_histogram_counts_every_value_once() -> None:
    values = np.array([0.0, -1.0, 1.0, 0.5, 0.4999], np.float32)
    counts = size_histogram(values, 1.0)
    assert counts.sum() == 5
    assert counts[0] == 1
    assert counts[BINS - 1] == 2
    assert counts[BINS // 2] == 1
    assert size_histogram(np.zeros(3, np.float32), 0.0)[0] == 3


@pytest.mark.parametrize("method", ["mse", "percentile", "max"])
def test_a_dead_activation_has_a_positive_step(method: str) -> None:
    dead = np.zeros((4, 3, 8, 8), np.float32)
    assert activation_ranges(NETWORK, dead, ["patches"], method=method, threads=1)[  # type: ignore[arg-type]
        "patches"
    ].step == pytest.approx(SMALLEST_SCALE)


def test_nothing_and_infinity_are_refused() -> None:
    with pytest.raises(DataError, match="no patch"):
        activation_ranges(NETWORK, PATCHES[:0], ["a"])
    endless = PATCHES.copy()
    endless[3, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="activation patches is not finite on 40 patches"):
        activation_ranges(NETWORK, endless, ["patches"], threads=1)
