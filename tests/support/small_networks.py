"""Small networks with every kind of layer, for what converts, quantises and builds."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
LATENT = 6


def convolutional(*, seed: int = 0, spike: float = 1.0, opset: int = 18) -> bytes:
    """Conv, depthwise conv, residual Add, mean, dense; input n x 3 x 8 x 8, output n x 6.

    `spike` multiplies one channel of the first weight and divides what reads it: the function stays
    the same, and one channel then rules the range of the activation between them.
    """
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.3, (8, 3, 3, 3))
    depthwise = rng.normal(0, 0.3, (8, 1, 3, 3))
    first[0] *= spike
    depthwise[0] /= spike
    tensors = {
        "first.weight": first,
        "first.bias": rng.normal(0, 0.1, 8),
        "depthwise.weight": depthwise,
        "depthwise.bias": rng.normal(0, 0.1, 8),
        "point.weight": rng.normal(0, 0.3, (8, 8, 1, 1)),
        "point.bias": rng.normal(0, 0.1, 8),
        "dense.weight": rng.normal(0, 0.5, (LATENT, 8)),
        "dense.bias": rng.normal(0, 0.1, LATENT),
    }

    def conv(source: str, name: str, group: int = 1, pads: int = 1) -> onnx.NodeProto:
        return helper.make_node(
            "Conv",
            [source, f"{name}.weight", f"{name}.bias"],
            [f"{name}.out"],
            name=name,
            group=group,
            pads=[pads] * 4,
        )

    nodes = [
        conv("patches", "first"),
        helper.make_node("Relu", ["first.out"], ["a"]),
        conv("a", "depthwise", group=8),
        helper.make_node("Relu", ["depthwise.out"], ["b"]),
        conv("b", "point", pads=0),
        helper.make_node("Add", ["b", "point.out"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"], axis=1),
        helper.make_node(
            "Gemm", ["e", "dense.weight", "dense.bias"], ["latent"], "dense", transB=1
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", LATENT])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def beside_a_loud_part(network: bytes) -> bytes:
    """Two more answers, ten thousand times as large, of a layer that reads the input as well."""
    model = onnx.load_from_string(network)
    graph = model.graph
    graph.node[-1].output[0] = "quiet"
    weights = np.random.default_rng(5).normal(0, 1e4, (2, 3, 1, 1)).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(weights, "loud.weight"))
    graph.node.extend(
        [
            helper.make_node("Conv", ["patches", "loud.weight"], ["loud.out"], "loud"),
            helper.make_node("GlobalAveragePool", ["loud.out"], ["loud.mean"]),
            helper.make_node("Flatten", ["loud.mean"], ["loud.flat"], axis=1),
            helper.make_node("Concat", ["quiet", "loud.flat"], ["latent"], axis=1),
        ]
    )
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = LATENT + 2
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def patches(count: int, *, seed: int = 1, channels: int = 3, side: int = SIDE) -> np.ndarray:
    """Smooth random patches in [0, 1], float32."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.1, 0.7, (count, channels, 1, 1))
    rows = rng.normal(0, 0.15, (count, channels, side, 1)).cumsum(axis=2)
    columns = rng.normal(0, 0.15, (count, channels, 1, side)).cumsum(axis=3)
    return np.clip(level + rows + columns, 0, 1).astype(np.float32)
