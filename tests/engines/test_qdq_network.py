"""The INT8 network against a second implementation in numpy, and its form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from support.small_networks import beside_a_loud_part, convolutional, patches

from calibration.activation_ranges import activation_ranges
from engines.errors import DataError
from engines.half_precision import fp16_weights
from engines.qdq_check import build_problems
from engines.qdq_network import (
    LEVELS,
    SMALLEST_SCALE,
    ActivationRange,
    qdq_from_ranges,
    quantisable_layers,
    weight_scales,
)

NETWORK = convolutional()
PATCHES = patches(64)
LAYERS = quantisable_layers(NETWORK)
ALL = [layer.name for layer in LAYERS]
REFERENCE = Path(__file__).resolve().parents[2] / "engines" / "reference"


def ranges() -> dict[str, ActivationRange]:
    return activation_ranges(NETWORK, PATCHES, sorted({x.activation for x in LAYERS}), threads=1)


def run(network: bytes, batch: np.ndarray, output: str = "latent") -> np.ndarray:
    session = ort.InferenceSession(network, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"patches": batch})[0])


def tensors(network: bytes) -> dict[str, np.ndarray]:
    model = onnx.load_from_string(network)
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_all_convolutions_and_dense_layers_are_found() -> None:
    assert ALL == ["first", "depthwise", "point", "dense"]
    assert [layer.activation for layer in LAYERS] == ["patches", "a", "b", "e"]


def test_one_layer_alone_equals_integer_arithmetic_in_numpy() -> None:
    """Explicit: int8 patches times int8 weights, summed as integers, then scaled once."""
    found = ranges()
    quantised = qdq_from_ranges(NETWORK, found, skip=[n for n in ALL if n != "first"])
    fixed, original = tensors(quantised), tensors(NETWORK)
    step = found["patches"].step
    weight = original["first.weight"]
    steps = np.abs(weight).max(axis=(1, 2, 3)) / 127.0
    integers = np.clip(np.rint(weight / steps[:, None, None, None]), -127, 127).astype(np.int64)
    np.testing.assert_array_equal(fixed["first.weight.int8"], integers)
    np.testing.assert_allclose(fixed["first.weight.scale"], steps, rtol=1e-6)

    model = onnx.load_from_string(quantised)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("first.out"))
    batch = PATCHES[:2]
    small = np.clip(np.rint(batch / np.float32(step)), -128, 127).astype(np.int64)
    padded = np.pad(small, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums = np.einsum("ncyxij,ocij->noyx", windows, integers)
    expected = sums * (step * steps)[:, None, None] + fixed["first.bias"][:, None, None]
    found_output = run(model.SerializeToString(), batch, "first.out")
    np.testing.assert_allclose(found_output, expected, atol=1e-5)


def test_the_bias_takes_out_the_mean_error_of_the_weights() -> None:
    """On patches that are constant in each channel, inside the picture, nothing is left of it."""
    flat = np.tile(np.array([0.2, 0.5, 0.7], np.float32)[None, :, None, None], (4, 1, 8, 8))
    step = 0.7 / 127
    means = np.rint(flat[0, :, 0, 0] / np.float32(step)) * step
    found = {
        **ranges(),
        "patches": ActivationRange(step=step, means=means.astype(np.float64)),
    }
    quantised = qdq_from_ranges(NETWORK, found, skip=[n for n in ALL if n != "first"])
    exact = onnx.load_from_string(NETWORK)
    model = onnx.load_from_string(quantised)
    for one in (exact, model):
        one.graph.output.append(onnx.helper.make_empty_tensor_value_info("first.out"))
    rounded = np.broadcast_to(means.astype(np.float32)[None, :, None, None], flat.shape)
    wanted = run(exact.SerializeToString(), np.ascontiguousarray(rounded), "first.out")
    got = run(model.SerializeToString(), flat, "first.out")
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(got[inside], wanted[inside], atol=2e-6)
    assert np.abs(tensors(quantised)["first.bias"] - tensors(NETWORK)["first.bias"]).max() > 1e-5


def test_bias_correction_knows_groups() -> None:
    """A depthwise channel sees the mean of its own channel alone."""
    found = ranges()
    quantised = qdq_from_ranges(NETWORK, found, skip=[n for n in ALL if n != "depthwise"])
    fixed, original = tensors(quantised), tensors(NETWORK)
    rounded = fixed["depthwise.weight.int8"] * fixed["depthwise.weight.scale"][:, None, None, None]
    error = (rounded - original["depthwise.weight"]).sum(axis=(1, 2, 3))
    expected = original["depthwise.bias"] - error * found["a"].means
    np.testing.assert_allclose(fixed["depthwise.bias"], expected, atol=1e-6)


def test_the_whole_network_stays_close_and_is_a_quarter_in_its_weights() -> None:
    quantised = qdq_from_ranges(NETWORK, ranges())
    exact = run(NETWORK, PATCHES)
    error = np.linalg.norm(run(quantised, PATCHES) - exact) / np.linalg.norm(exact)
    assert 0.0 < error < 0.03
    kinds = {array.dtype for name, array in tensors(quantised).items() if "weight.int8" in name}
    assert kinds == {np.dtype(np.int8)}
    assert not {f"{name}.weight" for name in ALL} & set(tensors(quantised))


def test_a_residual_takes_the_dequantised_tensor_and_outputs_are_left_alone() -> None:
    model = onnx.load_from_string(qdq_from_ranges(NETWORK, ranges()))
    (add,) = [node for node in model.graph.node if node.op_type == "Add"]
    assert list(add.input) == ["b.dq", "point.out"]
    quantised = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert quantised == {"patches", "a", "b", "e"}  # each once, none behind the last layer
    assert [o.name for o in model.graph.output] == ["latent"]


def test_layers_that_read_the_same_tensor_share_its_pair() -> None:
    network = beside_a_loud_part(NETWORK)
    names = sorted({layer.activation for layer in quantisable_layers(network)})
    quantised = qdq_from_ranges(network, activation_ranges(network, PATCHES, names, threads=1))
    nodes = onnx.load_from_string(quantised).graph.node
    assert sum(node.op_type == "QuantizeLinear" and "patches" in node.input for node in nodes) == 1
    assert [n.name for n in nodes if "patches.dq" in n.input] == ["first", "loud"]
    loud = run(network, PATCHES)[:, -1]
    np.testing.assert_allclose(run(quantised, PATCHES)[:, -1], loud, atol=0.02 * np.ptp(loud))


def test_the_form_is_what_tensorrt_builds() -> None:
    quantised = qdq_from_ranges(NETWORK, ranges())
    assert build_problems(quantised) == ()
    assert qdq_from_ranges(NETWORK, ranges()) == quantised
    values = tensors(quantised)
    assert all((v > 0).all() for name, v in values.items() if name.endswith(".scale"))
    assert all(not v.any() and v.dtype == np.int8 for n, v in values.items() if n.endswith(".zero"))


def test_skipped_layers_keep_their_weights() -> None:
    quantised = qdq_from_ranges(NETWORK, ranges(), skip=["first", "dense"])
    original = tensors(NETWORK)
    for name in ("first.weight", "dense.weight"):
        np.testing.assert_array_equal(tensors(quantised)[name], original[name])
    assert build_problems(quantised) == ()


def test_a_compact_network_is_widened_first() -> None:
    root = REFERENCE / "ucsd_ped2" / "networks" / "appearance.fp32.onnx"
    layers = quantisable_layers(root.read_bytes())
    assert len(layers) == 48
    assert layers[0].name == "node_conv2d"
    compact = fp16_weights(NETWORK)
    assert quantisable_layers(compact) == LAYERS


def test_a_dead_channel_has_a_positive_scale() -> None:
    weight = np.zeros((2, 3, 3, 3), np.float32)
    weight[1] = 2.54
    assert weight_scales(weight)[0] == np.float32(SMALLEST_SCALE)
    assert weight_scales(weight)[1] == pytest.approx(2.54 / LEVELS)


def test_wrong_names_and_missing_ranges_are_refused() -> None:
    with pytest.raises(DataError, match="no layer nothing"):
        qdq_from_ranges(NETWORK, ranges(), skip=["nothing"])
    with pytest.raises(DataError, match="no layer is left"):
        qdq_from_ranges(NETWORK, ranges(), skip=ALL)
    with pytest.raises(DataError, match="activation a needs a positive scale"):
        qdq_from_ranges(NETWORK, {k: v for k, v in ranges().items() if k != "a"})
    with pytest.raises(DataError, match="not an ONNX network"):
        quantisable_layers(NETWORK[: len(NETWORK) // 2])
    with pytest.raises(DataError, match="no nodes"):
        quantisable_layers(b"")
