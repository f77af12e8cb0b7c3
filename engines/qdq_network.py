"""Explicit INT8: an FP32 network becomes one with QuantizeLinear and DequantizeLinear nodes.

The form is the one that every TensorRT from 10.3 on builds, strongly typed:

- int8, symmetric, zero point 0 stated, scales positive;
- one Q/DQ pair for each distinct activation that enters a convolution or dense layer, after the
  activation function and not before it, one scale for the tensor;
- weights stored as int8 in -127 .. 127 with a DequantizeLinear, one scale for each output channel
  on axis 0;
- biases and everything else stay FP32; nothing on the outputs of the last layers. What rounding a
  layer's weights adds to its outputs on average is taken out of its bias (Nagel et al. 2019,
  "Data-free quantization through weight equalization and bias correction").

Where such an activation also goes around a block into an Add, the Add takes the dequantised one:
TensorRT fuses a residual only where both of its ends are quantised.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from engines.network_file import read_network, replace_nodes, widen_stored

LEVELS = 127.0
"""Largest int8 step on either side of zero; -128 is not used, so that the range is symmetric."""
# TensorRT refuses a scale of zero: what a dead channel or a dead activation would have.
SMALLEST_SCALE = 1e-8 / LEVELS


@dataclass(frozen=True)
class ActivationRange:
    """What normal patches say of one activation.

    Attributes:
        step: Size of one int8 step, positive.
        means: float64, one mean for each channel (axis 1).
    """

    step: float
    means: NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer that can be quantised.

    Attributes:
        name: Its node name, or the name of its output where it has none.
        activation: The tensor that enters it.
        weight: Its weight tensor.
        values: Number of values of that weight.
    """

    name: str
    activation: str
    weight: str
    values: int


def quantisable_layers(network: bytes) -> tuple[Layer, ...]:
    """Convolutions and dense layers with constant FP32 weights, in the order of the graph.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network.
    """
    return _layers(_plain(network).graph)


def plain_fp32(network: bytes) -> bytes:
    """The network with plain FP32 weights: those stored small are widened, their casts are gone.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network.
    """
    return bytes(_plain(network).SerializeToString(deterministic=True))


def qdq_from_ranges(
    network: bytes, ranges: Mapping[str, ActivationRange], *, skip: Collection[str] = ()
) -> bytes:
    """Write the INT8 network.

    Args:
        network: FP32 network, compact or not.
        ranges: Of each activation, by tensor name (see `calibration.activation_ranges`).
        skip: Names of layers that stay FP32.

    Returns:
        ONNX file content, deterministic.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network, nothing to quantise, a layer in `skip` that is not there,
            or a range that is missing or not positive.
    """
    import onnx  # noqa: PLC0415  see engines.network_file

    model = _plain(network)
    layers = _layers(model.graph)
    unknown = sorted(set(skip) - {layer.name for layer in layers})
    if unknown:
        raise DataError(
            f"there is no layer {', '.join(unknown)} to leave in FP32",
            mend=f"the layers are {', '.join(layer.name for layer in layers)}",
        )
    chosen = {layer.name: layer for layer in layers if layer.name not in skip}
    if not chosen:
        raise DataError(f"no layer is left to quantise, {len(layers)} are there")
    _Writer(model.graph, ranges).write(chosen)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Step of each output channel (axis 0): largest size / 127, never zero; float32."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    return np.asarray(np.maximum(largest / LEVELS, SMALLEST_SCALE), dtype=np.float32)


def _plain(network: bytes) -> Any:
    model = read_network(network)
    widen_stored(model.graph)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    return model


def _layers(graph: Any) -> tuple[Layer, ...]:
    from onnx import TensorProto, helper  # noqa: PLC0415  see engines.network_file

    fixed = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in fixed:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        # Output channels must be axis 0 of the weight, and the scale must be all there is.
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        if node.op_type == "Gemm" and not (
            plain and attributes.get("transB", 0) == 1 and not attributes.get("transA", 0)
        ):
            continue
        weight = fixed[node.input[1]]
        found.append(
            Layer(node.name, node.input[0], weight.name, int(np.prod(weight.dims, dtype=np.int64)))
        )
    return tuple(found)


def _rounded(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    steps = weight_scales(weight)
    scaled = weight / steps.reshape(-1, *([1] * (weight.ndim - 1)))
    return np.clip(np.rint(scaled), -LEVELS, LEVELS).astype(np.int8), steps


class _Writer:
    """Puts the pairs into one graph."""

    def __init__(self, graph: Any, ranges: Mapping[str, ActivationRange]) -> None:
        self._graph = graph
        self._ranges = ranges
        self._fixed = {tensor.name: tensor for tensor in graph.initializer}
        self._added: list[Any] = []

    def write(self, chosen: Mapping[str, Layer]) -> None:
        # Layers may share what they read, as at the two branches of a residual block.
        activations = dict.fromkeys(layer.activation for layer in chosen.values())
        pairs = {name: self._pair(name) for name in activations}
        stored = dict.fromkeys(layer.weight for layer in chosen.values())
        weights = {name: self._stored(name) for name in stored}
        for node in self._graph.node:
            if node.name in chosen:
                self._correct_bias(node, chosen[node.name])
        nodes: list[Any] = list(self._added)
        # A pair stands right behind what makes its tensor; the graph's inputs are there already.
        made_by_node = {name for node in self._graph.node for name in node.output}
        for tensor, (_, pair) in pairs.items():
            if tensor not in made_by_node:
                nodes += pair
        for node in self._graph.node:
            self._rewire(node, chosen.get(node.name), pairs, weights)
            nodes.append(node)
            for name in node.output:
                nodes += pairs.get(name, ("", []))[1]
        replace_nodes(self._graph, nodes)
        self._drop_unused()

    def _rewire(
        self,
        node: Any,
        layer: Layer | None,
        pairs: Mapping[str, tuple[str, list[Any]]],
        weights: Mapping[str, str],
    ) -> None:
        if layer is not None:
            node.input[0] = pairs[layer.activation][0]
            node.input[1] = weights[layer.weight]
        elif node.op_type == "Add":
            for place, name in enumerate(node.input):
                node.input[place] = pairs.get(name, (name, []))[0]

    def _pair(self, tensor: str) -> tuple[str, list[Any]]:
        from onnx import helper  # noqa: PLC0415  see engines.network_file

        found = self._ranges.get(tensor)
        scale = found.step if found is not None else 0.0
        if not (np.isfinite(scale) and scale > 0.0):
            raise DataError(f"activation {tensor} needs a positive scale, it has {scale:g}")
        step = self._constant(np.array(scale, np.float32), f"{tensor}.scale")
        zero = self._constant(np.array(0, np.int8), f"{tensor}.zero")
        small, wide = f"{tensor}.int8", f"{tensor}.dq"
        return wide, [
            helper.make_node("QuantizeLinear", [tensor, step, zero], [small], name=f"{tensor}.Q"),
            helper.make_node("DequantizeLinear", [small, step, zero], [wide], name=f"{tensor}.DQ"),
        ]

    def _stored(self, name: str) -> str:
        from onnx import helper  # noqa: PLC0415  see engines.network_file

        small, steps = _rounded(self._values(name))
        inputs = [
            self._constant(small, f"{name}.int8"),
            self._constant(steps, f"{name}.scale"),
            self._constant(np.zeros(len(steps), np.int8), f"{name}.zero"),
        ]
        wide = f"{name}.dq"
        self._added.append(
            helper.make_node("DequantizeLinear", inputs, [wide], name=f"{name}.DQ", axis=0)
        )
        return wide

    def _correct_bias(self, node: Any, layer: Layer) -> None:
        """Take the mean error of the rounded weights out of the layer's bias, where it has one.

        The means hold inside the picture; at a padded border they are a little too large.
        """
        name = node.input[2] if len(node.input) > 2 else ""
        readers = sum(list(other.input).count(name) for other in self._graph.node)
        if name not in self._fixed or readers != 1:
            return
        weight = self._values(layer.weight)
        small, steps = _rounded(weight)
        rounded = small.reshape(len(steps), -1) * steps[:, None].astype(np.float64)
        each = rounded - weight.reshape(len(steps), -1)
        error = each.reshape(len(steps), weight.shape[1], -1).sum(axis=2)
        means = self._ranges[layer.activation].means
        # A group of output channels sees its own part of the input channels.
        groups = len(means) // weight.shape[1]
        shift = np.einsum(
            "goi,gi->go", error.reshape(groups, -1, weight.shape[1]), means.reshape(groups, -1)
        )
        bias = self._values(name).astype(np.float64) - shift.reshape(-1)
        self._replace(name, bias.astype(np.float32))

    def _values(self, name: str) -> NDArray[np.float32]:
        from onnx import numpy_helper  # noqa: PLC0415  see engines.network_file

        return np.asarray(numpy_helper.to_array(self._fixed[name]), dtype=np.float32)

    def _replace(self, name: str, values: NDArray[np.float32]) -> None:
        from onnx import numpy_helper  # noqa: PLC0415  see engines.network_file

        self._fixed[name].CopyFrom(numpy_helper.from_array(values, name))

    def _constant(self, values: NDArray[np.generic], name: str) -> str:
        from onnx import numpy_helper  # noqa: PLC0415  see engines.network_file

        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def _drop_unused(self) -> None:
        """FP32 weights that nothing reads any more would double the file."""
        used = {name for node in self._graph.node for name in node.input}
        used |= {item.name for item in self._graph.output}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
