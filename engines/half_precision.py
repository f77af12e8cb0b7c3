"""Half precision: networks that compute in FP16, and FP32 networks stored in half the size.

Precision lives in the file (weights and casts), not in a flag of whoever runs it. Inputs and
outputs stay FP32 in both.
"""

from __future__ import annotations

from typing import Any

from engines.network_file import STORED, read_network, replace_nodes, widen_stored

# Smaller tensors (biases, constants) are not worth a node each, and biases set the operating point.
COMPACT_VALUES = 1024
# Operators whose weights are stored small, and which of their inputs can be weights.
WEIGHT_INPUTS = {"Conv": (1,), "MatMul": (0, 1), "Gemm": (0, 1)}


def fp16_from_fp32(network: bytes) -> bytes:
    """Convert an ONNX network to FP16 inside, FP32 at its input and output.

    Args:
        network: ONNX file content, FP32; its weights may be stored small (`fp16_weights`). Such a
            network gives the file that the original would have given, except for weights below
            6e-8 in size, the smallest number of FP16: those are zero here, 6e-8 there.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network.
    """
    model = read_network(network)
    from onnxruntime.transformers import float16, onnx_model  # noqa: PLC0415  need onnx

    # The converter would turn the casts of stored weights into casts from FP16 to FP16.
    widen_stored(model.graph)
    half = float16.convert_float_to_float16(model, keep_io_types=True)
    # The converter leaves the casts of inputs at the end, which ONNX does not allow.
    onnx_model.OnnxModel.graph_topological_sort(half.graph)
    converted: bytes = half.SerializeToString()
    return converted


def fp16_weights(network: bytes) -> bytes:
    """Store the large weights of an FP32 network as FP16; it computes in FP32 as before.

    Each weight of a Conv, MatMul or Gemm with at least `COMPACT_VALUES` values is rounded to FP16
    and followed by a Cast to FP32. Libraries fold those casts when they load the file, so that only
    the file is smaller. A weight with values that FP16 cannot hold (above 65504) stays as it is.

    Args:
        network: ONNX file content, FP32, opset 18 or newer. A compact one comes back unchanged.

    Returns:
        ONNX file content, deterministic.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network.
    """
    model = read_network(network)
    if not _narrow_weights(model.graph):
        return network
    import onnx  # noqa: PLC0415  devices run networks and never convert them

    onnx.checker.check_model(model, full_check=True)
    compact: bytes = model.SerializeToString(deterministic=True)
    return compact


def _narrow_weights(graph: Any) -> bool:
    """Put FP16 and a cast in the place of each large weight; False where there is none."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  see read_network

    # An initialiser that is an input as well is a default that the caller may replace.
    weights = _weight_names(graph) - {item.name for item in graph.input}
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in weights or tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < COMPACT_VALUES or not (abs(values) <= 65504.0).all():
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), name + STORED))
        # The cast has the weight's name: whoever reads the weight need not know.
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    replace_nodes(graph, [*casts, *graph.node])
    return bool(casts)


def _weight_names(graph: Any) -> set[str]:
    return {
        node.input[place]
        for node in graph.node
        for place in WEIGHT_INPUTS.get(node.op_type, ())
        if place < len(node.input)
    }
