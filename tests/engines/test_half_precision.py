"""FP16 networks: half the size, nearly the same numbers, and a bundle can live on them alone."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.bundles import tiny_bundle, write_projection

from edge.pipeline import Pipeline
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import BundleFile, write_bundle
from engines.errors import DataError
from engines.half_precision import COMPACT_VALUES, fp16_from_fp32, fp16_weights


def test_half_the_size_and_nearly_the_same_numbers(tmp_path: Path) -> None:
    single, half = tmp_path / "single.onnx", tmp_path / "half.onnx"
    matrix = write_projection(single, seed=0)
    half.write_bytes(fp16_from_fp32(single.read_bytes()))
    assert half.stat().st_size < 0.55 * single.stat().st_size
    patches = np.random.default_rng(0).random((5, 3, 28, 28), dtype=np.float32)
    backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", precision="fp16")
    backend.load(half)
    found = backend.infer(patches)
    assert found.dtype == np.float32
    exact = patches.reshape(5, -1) @ matrix
    np.testing.assert_allclose(found, exact, atol=0.02)
    assert np.abs(found - exact).max() > 0.0
    assert backend.infer(patches[:0]).shape == (0, 4)


def test_a_bundle_without_fp32_runs_its_fp16_and_says_so(tmp_path: Path) -> None:
    full = tiny_bundle(tmp_path / "full", workspace=tmp_path)
    files = [
        BundleFile(e.path, e.role, (full.root / e.path).read_bytes())
        for e in full.manifest.files
        if e.role not in ("model", "alarm") and ".fp32." not in e.path
    ]
    streams = []
    for stream in full.model.streams:
        assert stream.network is not None
        only = {"fp16": stream.network.files["fp16"]}
        network = stream.network.model_copy(update={"files": only})
        streams.append(stream.model_copy(update={"network": network}))
    model = full.model.model_copy(update={"streams": tuple(streams)})
    half = write_bundle(tmp_path / "half", model=model, alarm=full.alarm, files=files)
    with Pipeline(half, threads=1) as pipeline:
        assert set(pipeline.backends.values()) == {"onnxruntime-cpu/fp16"}


def test_garbage_is_refused() -> None:
    for convert in (fp16_from_fp32, fp16_weights):
        with pytest.raises(DataError, match="not an ONNX network"):
            convert(b"garbage")


def _network(*, scale: float = 0.1) -> bytes:
    """Conv (3888 weights), Relu, Conv (144 weights), mean, Gemm (1024 weights): all kinds once."""
    rng = np.random.default_rng(3)
    tensors = {
        "wide": rng.normal(0, scale, (144, 3, 3, 3)),
        "wide_bias": rng.normal(0, 0.1, 144),
        "narrow": rng.normal(0, 0.1, (16, 9, 1, 1)),
        "matrix": rng.normal(0, 0.1, (16, 64)),
        "offsets": rng.normal(0, 0.1, (1, 64)),
    }
    nodes = [
        helper.make_node("Conv", ["patches", "wide", "wide_bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "narrow"], ["c"], group=16),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"], axis=1),
        helper.make_node("Gemm", ["e", "matrix", "offsets"], ["latent"]),
    ]
    graph = helper.make_graph(
        nodes,
        "all_kinds",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def _rounded(network: bytes) -> bytes:
    model = onnx.load_from_string(network)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size >= COMPACT_VALUES:
            values = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


def _run(file: Path, network: bytes) -> np.ndarray:
    file.write_bytes(network)
    backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", threads=1)
    backend.load(file)
    return backend.infer(np.random.default_rng(1).random((5, 3, 8, 8), dtype=np.float32))


def _types(network: bytes) -> dict[str, int]:
    return {t.name: t.data_type for t in onnx.load_from_string(network).graph.initializer}


def test_compact_equals_rounded_weights_at_half_the_size(tmp_path: Path) -> None:
    network = _network()
    compact = fp16_weights(network)
    assert len(compact) < 0.65 * len(network)  # small tensors stay, and this is a small file
    found = _run(tmp_path / "compact.onnx", compact)
    np.testing.assert_array_equal(found, _run(tmp_path / "rounded.onnx", _rounded(network)))
    assert np.abs(found - _run(tmp_path / "full.onnx", network)).max() > 0.0


def test_a_large_compact_file_is_half_the_size(tmp_path: Path) -> None:
    single = tmp_path / "single.onnx"
    write_projection(single, seed=0)
    assert len(fp16_weights(single.read_bytes())) < 0.55 * single.stat().st_size


def test_compact_holds_only_large_weights_as_fp16() -> None:
    compact = fp16_weights(_network())
    onnx.checker.check_model(onnx.load_from_string(compact), full_check=True)
    assert _types(compact) == {
        "wide.fp16": TensorProto.FLOAT16,
        "wide_bias": TensorProto.FLOAT,
        "narrow": TensorProto.FLOAT,
        "matrix.fp16": TensorProto.FLOAT16,
        "offsets": TensorProto.FLOAT,
    }


def test_compacting_twice_is_compacting_once() -> None:
    compact = fp16_weights(_network())
    assert fp16_weights(compact) == compact
    half = fp16_from_fp32(_network())
    assert fp16_weights(half) == half  # nothing in it is FP32


def test_weights_too_large_for_fp16_stay_as_they_are() -> None:
    types = _types(fp16_weights(_network(scale=1e5)))
    assert types["wide"] == TensorProto.FLOAT
    assert types["matrix.fp16"] == TensorProto.FLOAT16


def test_fp16_of_a_compact_network_is_that_of_the_original() -> None:
    network = _network()
    from_compact = fp16_from_fp32(fp16_weights(network))
    assert from_compact == fp16_from_fp32(network)
    model = onnx.load_from_string(from_compact)
    onnx.checker.check_model(model, full_check=True)
    assert {t.data_type for t in model.graph.initializer} == {TensorProto.FLOAT16}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2  # input and output
