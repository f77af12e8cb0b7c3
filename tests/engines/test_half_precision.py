"""FP16 networks: half the size, nearly the same numbers, and a bundle can live on them alone."""

from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_bundle, write_projection

from edge.pipeline import Pipeline
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import BundleFile, write_bundle
from engines.errors import DataError
from engines.half_precision import fp16_from_fp32


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
    with pytest.raises(DataError, match="not an ONNX network"):
        fp16_from_fp32(b"garbage")
