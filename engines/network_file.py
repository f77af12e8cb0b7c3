"""Reading and changing ONNX networks: what the conversions of this room have in common.

Devices run networks and never convert them, so the package onnx is imported when a conversion
begins, not before.
"""

from __future__ import annotations

from typing import Any

from engines.errors import DataError, UnavailableError

STORED = ".fp16"
"""Ending of the name under which a weight is stored in half the size (`fp16_weights`)."""


def read_network(network: bytes, *, where: str | None = None) -> Any:
    """Parse an ONNX file.

    Args:
        network: Its content.
        where: The file, for messages.

    Returns:
        onnx.ModelProto.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network, or one that was cut off.
    """
    try:
        import onnx  # noqa: PLC0415  see the module's docstring
        from google.protobuf.message import DecodeError  # noqa: PLC0415  comes with onnx
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"converting a network needs the package {error.name}",
            mend="install the workstation part: pip install 'vigil[train]'",
        ) from error
    try:
        model = onnx.load_from_string(network)
    except DecodeError as error:
        raise DataError(
            f"this is not an ONNX network: {error}",
            where=where,
            mend="copy or export the bundle again",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise DataError(
            f"this is not an ONNX network: no nodes or no output in {len(network)} bytes",
            where=where,
            mend="copy or export the bundle again",
        )
    return model


def widen_stored(graph: Any) -> None:
    """Make weights that are stored as FP16 plain FP32 weights again, and drop their casts."""
    from onnx import TensorProto, numpy_helper  # noqa: PLC0415  see the module's docstring

    tensors = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    kept = []
    for node in graph.node:
        stored = tensors.get(node.input[0]) if node.op_type == "Cast" else None
        if stored is None or stored.name != node.output[0] + STORED:
            kept.append(node)
            continue
        values = numpy_helper.to_array(stored).astype("float32")
        stored.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    replace_nodes(graph, kept)


def replace_nodes(graph: Any, nodes: list[Any]) -> None:
    """Give the graph these nodes, in this order, instead of its own."""
    del graph.node[:]
    graph.node.extend(nodes)
