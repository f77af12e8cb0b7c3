"""Each rule of the checker breaks on a network that breaks it, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.small_networks import convolutional, patches

from calibration.activation_ranges import activation_ranges
from engines.errors import DataError
from engines.half_precision import fp16_from_fp32, fp16_weights
from engines.qdq_check import build_problems, require_buildable
from engines.qdq_network import qdq_from_ranges, quantisable_layers

REFERENCE = Path(__file__).resolve().parents[2] / "engines" / "reference"
FP32 = convolutional()
_RANGES = activation_ranges(
    FP32, patches(16), sorted({x.activation for x in quantisable_layers(FP32)}), threads=1
)
INT8 = qdq_from_ranges(FP32, _RANGES)


def changed(change: Callable[[Any], None], network: bytes = INT8) -> bytes:
    model = onnx.load_from_string(network)
    change(model.graph)
    return bytes(model.SerializeToString())


def constant(graph: Any, name: str, values: np.ndarray) -> None:
    (tensor,) = [t for t in graph.initializer if t.name == name]
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def node(graph: Any, name: str) -> Any:
    return next(n for n in graph.node if n.name == name)


def test_what_this_room_writes_passes() -> None:
    for network in (FP32, INT8, fp16_from_fp32(FP32), fp16_weights(FP32)):
        assert build_problems(network) == ()


@pytest.mark.parametrize(
    "file", sorted(REFERENCE.glob("*/networks/*.onnx")), ids=lambda p: f"{p.parts[-3]}-{p.stem}"
)
def test_what_is_shipped_passes(file: Path) -> None:
    require_buildable(file.read_bytes())


def _no_zero_point(graph: Any) -> None:
    del node(graph, "patches.Q").input[2]


def _unsigned(graph: Any) -> None:
    constant(graph, "patches.zero", np.array(0, np.uint8))


def _shifted(graph: Any) -> None:
    constant(graph, "patches.zero", np.array(3, np.int8))


def _zero_scale(graph: Any) -> None:
    constant(graph, "first.weight.scale", np.array([0.0] + [0.01] * 7, np.float32))


def _endless_scale(graph: Any) -> None:
    constant(graph, "patches.scale", np.array(np.inf, np.float32))


def _wrong_count(graph: Any) -> None:
    constant(graph, "first.weight.scale", np.full(3, 0.01, np.float32))


def _wrong_axis(graph: Any) -> None:
    node(graph, "point.weight.DQ").attribute[0].i = 1  # 8 x 8: the count fits both axes


def _channels_of_activation(graph: Any) -> None:
    constant(graph, "a.scale", np.full(8, 0.01, np.float32))


def _half_quantised(graph: Any) -> None:
    node(graph, "first").input[0] = "patches"


def _quantised_bias(graph: Any) -> None:
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.zeros(8, np.int32), "bias.int32"),
            numpy_helper.from_array(np.zeros(8, np.int32), "bias.zero"),
            numpy_helper.from_array(np.full(8, 0.1, np.float32), "bias.scale"),
        ]
    )
    inputs = ["bias.int32", "bias.scale", "bias.zero"]
    graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, ["bias.dq"], axis=0))
    node(graph, "first").input[2] = "bias.dq"


def _computed_scale(graph: Any) -> None:
    graph.node.insert(0, helper.make_node("Neg", ["patches.scale"], ["computed"]))
    node(graph, "patches.Q").input[1] = "computed"


def _q_alone(graph: Any) -> None:
    graph.output.append(helper.make_tensor_value_info("patches.int8", TensorProto.INT8, None))
    graph.node.append(helper.make_node("Identity", ["patches.int8"], ["kept"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_zero_point, "patches.Q states no zero point"),
        (_unsigned, "zero point of type uint8"),
        (_shifted, "zero point 3, only 0"),
        (_zero_scale, "first.weight.DQ has a scale of 0"),
        (_endless_scale, "patches.Q has a scale of inf"),
        (_wrong_count, "3 scales for 8 output channels"),
        (_wrong_axis, "point.weight.DQ has scales along axis 1"),
        (_channels_of_activation, "8 scales for an activation"),
        (_half_quantised, "Conv first has its weight quantised alone"),
        (_quantised_bias, "reads int32"),
        (_computed_scale, "patches.Q has a scale that is no constant"),
        (_q_alone, "patches.Q is not followed by DequantizeLinear alone"),
    ],
)
def test_a_wrong_pair_is_named(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(DataError, match="TensorRT would not build") as error:
        require_buildable(changed(change), where="net.onnx")
    assert message in error.value.what
    assert error.value.where == "net.onnx"


def _fixed_batch(graph: Any) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def _free_side(graph: Any) -> None:
    graph.input[0].type.tensor_type.shape.dim[3].dim_param = "w"


def _second_input(graph: Any) -> None:
    graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["n"]))


def _random(graph: Any) -> None:
    graph.node.append(helper.make_node("RandomNormalLike", ["latent"], ["noise"], name="noise"))


def _double(graph: Any) -> None:
    graph.node.append(helper.make_node("Cast", ["latent"], ["wide"], to=TensorProto.DOUBLE))
    graph.output.append(helper.make_tensor_value_info("wide", TensorProto.DOUBLE, None))


def _mixed(graph: Any) -> None:
    values = np.zeros(8, np.float16)
    constant(graph, "first.bias", values)


def _outside(graph: Any) -> None:
    tensor = next(t for t in graph.initializer if t.name == "first.bias")
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_fixed_batch, "axes [] are free"),
        (_free_side, "axes [0, 3] are free"),
        (_second_input, "2 inputs"),
        (_random, "RandomNormalLike noise makes random numbers"),
        (_double, "wide is FP64"),
        (_mixed, "Conv first mixes types"),
        (_outside, "first.bias lies in another file"),
    ],
)
def test_a_wrong_network_is_named(change: Callable[[Any], None], message: str) -> None:
    assert any(message in problem for problem in build_problems(changed(change, FP32)))


def test_an_opset_that_is_too_new_is_named() -> None:
    model = onnx.load_from_string(FP32)
    model.opset_import[0].version = 22
    assert "its opset is 22, known to work are 13 to 19" in build_problems(
        model.SerializeToString()
    )


def test_many_problems_are_counted() -> None:
    def all_unsigned(graph: Any) -> None:
        for tensor in list(graph.initializer):
            if tensor.name.endswith(".zero"):
                values = numpy_helper.to_array(tensor).astype(np.uint8)
                constant(graph, tensor.name, values)

    with pytest.raises(DataError, match=r"and \d+ more"):
        require_buildable(changed(all_unsigned))
