"""Blocks bound the memory and change no number."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from support.bundles import tiny_bundle, write_projection

from engines.backends.onnxruntime_cpu import BLOCK, OnnxRuntimeCpu
from engines.backends.onnxruntime_cuda import OnnxRuntimeCuda
from engines.backends.openvino_cpu import OpenVinoCpu
from engines.errors import DataError


@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_blocks_give_what_one_run_gives(tmp_path: Path, count: int) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    network = bundle.model.streams[0].network
    assert network is not None
    file = bundle.path(network.files["fp32"])
    whole = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    shape = (count, *whole.get_inputs()[0].shape[1:])
    batch = np.random.default_rng(1).random(shape, np.float32)
    backend = OnnxRuntimeCpu(input_name=network.input, output_name=network.output, threads=1)
    backend.load(file)
    expected = whole.run([network.output], {network.input: batch})[0]
    found = backend.infer(batch)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_backend_without_blocks_runs_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    network = bundle.model.streams[0].network
    assert network is not None
    backend = OnnxRuntimeCpu(input_name=network.input, output_name=network.output, threads=1)
    backend.load(bundle.path(network.files["fp32"]))
    sizes: list[int] = []
    run = backend._session.run

    class Counting:
        def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            sizes.append(len(inputs[network.input]))
            return run(outputs, inputs)

    shape = backend._shape[1:]
    backend._session = Counting()
    batch = np.zeros((2 * BLOCK + 3, *shape), np.float32)
    backend.infer(batch)
    monkeypatch.setattr(OnnxRuntimeCpu, "block", None)
    backend.infer(batch)
    assert sizes == [BLOCK, BLOCK, 3, 2 * BLOCK + 3]
    assert OnnxRuntimeCuda.block is None


@pytest.mark.parametrize("kind", [OnnxRuntimeCpu, OpenVinoCpu])
@pytest.mark.parametrize("shape", [(2, 3, 28), (2, 3, 28, 27), (2, 1, 28, 28), (2, 3, 28, 28, 1)])
def test_a_batch_of_another_shape_is_refused_by_its_shape(
    tmp_path: Path, kind: type[OnnxRuntimeCpu | OpenVinoCpu], shape: tuple[int, ...]
) -> None:
    """Also one with an axis too few or too many: not with whatever the library then raises."""
    if kind is OpenVinoCpu:
        pytest.importorskip("openvino")
    write_projection(tmp_path / "network.onnx", seed=0)
    backend = kind(input_name="patches", output_name="latent", precision="fp32", threads=1)
    backend.load(tmp_path / "network.onnx")
    with pytest.raises(DataError, match=r"wants N x \[3, 28, 28\]") as caught:
        backend.infer(np.zeros(shape, np.float32))
    assert str(list(shape)) in caught.value.what
    assert caught.value.where == str(tmp_path / "network.onnx")
