"""A network of whole pictures without training: how much the newest differs from the oldest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_difference_map(
    path: Path, *, frames: int, colours: int, side: int, block: int
) -> tuple[int, int]:
    """Write N x frames * colours x side x side -> N x 1 x side / block x side / block.

    The value of a cell is the mean over it, and over the colours, of |newest - oldest|.

    Returns:
        (rows, columns) of the map.
    """
    channels = frames * colours
    share = numpy_helper.from_array(np.full((1, colours, 1, 1), 1 / colours, np.float32), "share")

    def row(name: str, *values: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    bounds = [row("zero", 0), row("low", colours), row("last", channels - colours)]
    bounds += [row("end", channels), row("axis", 1)]
    nodes = [
        helper.make_node("Slice", ["patches", "zero", "low", "axis"], ["oldest"]),
        helper.make_node("Slice", ["patches", "last", "end", "axis"], ["newest"]),
        helper.make_node("Sub", ["newest", "oldest"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["size"]),
        helper.make_node("Conv", ["size", "share"], ["grey"]),
        helper.make_node(
            "AveragePool", ["grey"], ["latent"], kernel_shape=[block] * 2, strides=[block] * 2
        ),
    ]
    cells = side // block
    graph = helper.make_graph(
        nodes,
        "difference",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", channels, side, side])],
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", 1, cells, cells])],
        [share, *bounds],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return cells, cells


def difference_map(items: np.ndarray, *, colours: int, block: int) -> np.ndarray:
    """The same with numpy."""
    size = np.abs(items[:, -colours:] - items[:, :colours]).mean(axis=1)
    n, side, _ = size.shape
    blocks = size.reshape(n, side // block, block, side // block, block).mean(axis=(2, 4))
    return np.asarray(blocks[:, None], np.float32)
