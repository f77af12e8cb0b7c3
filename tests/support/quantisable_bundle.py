"""A tiny bundle whose network INT8 can take, for calibration and engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.bundles import tiny_bundle

from engines.bundle import Bundle, BundleFile, update_bundle
from engines.half_precision import fp16_from_fp32


def quantisable_bundle(root: Path, *, workspace: Path) -> Bundle:
    """`tiny_bundle` with its matrix products as dense layers; the numbers are the same."""
    bundle = tiny_bundle(root, workspace=workspace)
    files = []
    for stream in bundle.model.streams:
        assert stream.network is not None
        old = onnx.load(bundle.path(stream.network.files["fp32"]))
        matrix = numpy_helper.to_array(old.graph.initializer[0])
        fp32 = _dense(matrix.astype(np.float32))
        for precision, data in (("fp32", fp32), ("fp16", fp16_from_fp32(fp32))):
            name = f"networks/{stream.name}.{precision}.onnx"
            files.append(BundleFile(name, "network", data))
    return update_bundle(bundle, bundle.model, files)


def _dense(matrix: np.ndarray) -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["patches"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "weight"], ["latent"], name="dense", transB=1),
        ],
        "dense",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", 3, 28, 28])],
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", matrix.shape[1]])],
        [numpy_helper.from_array(np.ascontiguousarray(matrix.T), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())
