"""What TensorRT would refuse, or take in silence and do wrong, told before it is asked.

A network that passes here builds, strongly typed, from TensorRT 10.3 on and with TensorRT-RTX, and
its quantised layers really run in INT8. The rules, each from a parser error or a wrong plan that
was seen:

- one input, FP32, with a free first axis and no other; opset 13 to 19; nothing outside the file;
- no FP64 (runs as FP32 in silence) and no random nodes;
- both inputs of a convolution or product have one type;
- every Q and DQ states its zero point, int8 and 0: a missing or uint8 one is taken for int8 in
  silence, any other is an error;
- scales are constant, finite and positive, one for an activation, one for each output channel on
  axis 0 for a weight: another axis builds, and runs in FP32;
- no int32 bias behind a DQ; no quantised transposed convolution: it runs in FP32;
- a layer is quantised on both sides or on none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from engines.network_file import read_network

OPSETS: Final = range(13, 20)
_SHOWN = 4
_SAME_TYPE = ("Conv", "Gemm", "MatMul", "ConvTranspose", "Add", "Mul", "Sub", "Div")
_LAYERS = ("Conv", "Gemm", "MatMul")
_QUANTISE, _DEQUANTISE = "QuantizeLinear", "DequantizeLinear"


def require_buildable(network: bytes, *, where: str | None = None) -> None:
    """Refuse a network that TensorRT would refuse or run otherwise than meant.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network, or rules that it breaks, by node.
    """
    found = build_problems(network, where=where)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            f"TensorRT would not build this network: {'; '.join(found[:_SHOWN])}{more}",
            where=where,
            mend="export the bundle again, or quantise it with vigil calibrate --int8",
        )


def build_problems(network: bytes, *, where: str | None = None) -> tuple[str, ...]:
    """All rules that a network breaks, in words; empty if it can be built.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network.
    """
    graph = _Graph(read_network(network, where=where))
    return tuple(problem for rule in _RULES for problem in rule(graph))


class _Graph:
    """A model with what the rules look up: constants, makers, readers and types of tensors."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper, shape_inference  # noqa: PLC0415  see engines.network_file

        self.model = model
        self.nodes = list(model.graph.node)
        self.constants: dict[str, NDArray[np.generic]] = {
            t.name: numpy_helper.to_array(t) for t in model.graph.initializer if not t.external_data
        }
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        inferred = shape_inference.infer_shapes(model).graph
        described = [*inferred.value_info, *inferred.input, *inferred.output]
        self.types = {item.name: item.type.tensor_type.elem_type for item in described}
        self.types |= {t.name: t.data_type for t in model.graph.initializer}

    def of(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        """(name, node) of all nodes of some kinds."""
        for node in self.nodes:
            if node.op_type in kinds:
                yield node.name or node.output[0], node

    def made_by(self, tensor: str, kind: str) -> Any:
        """The node of this kind that makes the tensor, or None."""
        node = self.maker.get(tensor)
        return node if node is not None and node.op_type == kind else None

    def type_name(self, tensor: str) -> str:
        from onnx import TensorProto  # noqa: PLC0415  see engines.network_file

        return str(TensorProto.DataType.Name(self.types.get(tensor, 0)))


def _inputs(graph: _Graph) -> Iterator[str]:
    fixed = {tensor.name for tensor in graph.model.graph.initializer}
    given = [item for item in graph.model.graph.input if item.name not in fixed]
    if len(given) != 1:
        yield f"it has {len(given)} inputs, one is wanted"
    for item in given:
        sizes = item.type.tensor_type.shape.dim
        free = [place for place, size in enumerate(sizes) if not size.HasField("dim_value")]
        if free != [0]:
            yield f"input {item.name}: axes {free} are free, only the first one may and must be"
        if graph.type_name(item.name) != "FLOAT":
            yield f"input {item.name} has type {graph.type_name(item.name)}, not FLOAT"


def _opset(graph: _Graph) -> Iterator[str]:
    for entry in graph.model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            yield f"it uses operators of the domain {entry.domain}"
        elif entry.version not in OPSETS:
            yield f"its opset is {entry.version}, known to work are {OPSETS[0]} to {OPSETS[-1]}"


def _outside(graph: _Graph) -> Iterator[str]:
    for tensor in graph.model.graph.initializer:
        if tensor.external_data:
            yield f"weight {tensor.name} lies in another file"


def _types(graph: _Graph) -> Iterator[str]:
    for tensor in graph.types:
        if graph.type_name(tensor) == "DOUBLE":
            yield f"tensor {tensor} is FP64, which would run as FP32"
    for name, node in graph.of(*_SAME_TYPE):
        names = [graph.type_name(tensor) for tensor in node.input if tensor]
        if len({one for one in names if one != "UNDEFINED"}) > 1:
            yield f"{node.op_type} {name} mixes types {', '.join(names)}"


def _random(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
            yield f"{node.op_type} {node.name or node.output[0]} makes random numbers"


def _zero_points(graph: _Graph) -> Iterator[str]:
    for name, node in graph.of(_QUANTISE, _DEQUANTISE):
        if len(node.input) < 3 or not node.input[2]:
            yield f"{name} states no zero point, so that ONNX means uint8 and TensorRT int8"
            continue
        zero = graph.constants.get(node.input[2])
        if zero is None:
            yield f"{name} has a zero point that is no constant"
        elif zero.dtype == np.int32:
            yield f"{name} reads int32 (a quantised bias): biases must stay in floating point"
        elif zero.dtype != np.int8:
            yield f"{name} has a zero point of type {zero.dtype}, only int8 is symmetric"
        elif zero.any():
            yield f"{name} has zero point {zero.ravel()[np.flatnonzero(zero)[0]]}, only 0 is built"


def _scales(graph: _Graph) -> Iterator[str]:
    for name, node in graph.of(_QUANTISE, _DEQUANTISE):
        scale = graph.constants.get(node.input[1])
        if scale is None:
            yield f"{name} has a scale that is no constant"
            continue
        values = np.asarray(scale, dtype=np.float64)
        if not (np.isfinite(values) & (values > 0)).all():
            worst = values.ravel()[int(np.argmin(np.where(np.isfinite(values), values, -1.0)))]
            yield f"{name} has a scale of {worst:g}, all must be finite and positive"
        if scale.size > 1:
            yield from _channels(graph, name, node, scale.size)


def _channels(graph: _Graph, name: str, node: Any, scales: int) -> Iterator[str]:
    source = node.input[0]
    quantised = graph.made_by(source, _QUANTISE)
    weight = graph.constants.get(quantised.input[0] if quantised is not None else source)
    if weight is None:
        yield f"{name} has {scales} scales for an activation, which takes one"
        return
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    if axes != [0]:
        yield f"{name} has scales along axis {axes[0] if axes else 1}, weights need axis 0"
    elif scales != weight.shape[0]:
        yield f"{name} has {scales} scales for {weight.shape[0]} output channels"


def _pairs(graph: _Graph) -> Iterator[str]:
    for name, node in graph.of(_QUANTISE):
        readers = graph.readers.get(node.output[0], [])
        if not readers or any(reader.op_type != _DEQUANTISE for reader in readers):
            yield f"{name} is not followed by {_DEQUANTISE} alone"


def _both_sides(graph: _Graph) -> Iterator[str]:
    for name, node in graph.of(*_LAYERS):
        sides = [graph.made_by(tensor, _DEQUANTISE) is not None for tensor in node.input[:2]]
        if any(sides) and not all(sides):
            which = "activation" if sides[0] else "weight"
            yield f"{node.op_type} {name} has its {which} quantised alone, and would run in FP32"
    for name, node in graph.of("ConvTranspose"):
        if any(graph.made_by(tensor, _DEQUANTISE) is not None for tensor in node.input):
            yield f"ConvTranspose {name} is quantised, and would run in FP32"


_RULES: Final[tuple[Callable[[_Graph], Iterator[str]], ...]] = (
    _inputs,
    _opset,
    _outside,
    _types,
    _random,
    _zero_points,
    _scales,
    _pairs,
    _both_sides,
)
