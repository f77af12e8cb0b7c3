"""OpenVINO gives what ONNX Runtime gives on FP32, and stays near it on INT8."""

from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_bundle

from engines.backends import choose
from engines.backends.backend import Backend
from engines.backends.choose import open_backend
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.backends.openvino_cpu import BLOCK, OpenVinoCpu
from engines.bundle import Bundle
from engines.errors import DataError, UnavailableError
from engines.model_spec import NetworkSpec

pytest.importorskip("openvino", reason="the extra cpu-fast is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    workspace = tmp_path_factory.mktemp("openvino")
    return tiny_bundle(workspace / "bundle", workspace=workspace)


@pytest.fixture(scope="module")
def network(bundle: Bundle) -> NetworkSpec:
    network = bundle.model.streams[0].network
    assert network is not None
    return network


def loaded(bundle: Bundle, network: NetworkSpec) -> OpenVinoCpu:
    backend = OpenVinoCpu(input_name=network.input, output_name=network.output, precision="fp32")
    backend.load(bundle.path(network.files["fp32"]))
    return backend


@pytest.mark.parametrize("count", [0, 1, BLOCK, 2 * BLOCK + 3])
def test_it_gives_what_onnx_runtime_gives(bundle: Bundle, network: NetworkSpec, count: int) -> None:
    golden = bundle.arrays(str(bundle.model.streams[0].parity))
    shape = (count, *golden["patches"].shape[1:])
    batch = np.random.default_rng(3).random(shape, np.float32)
    other = OnnxRuntimeCpu(input_name=network.input, output_name=network.output)
    other.load(bundle.path(network.files["fp32"]))
    found = loaded(bundle, network).infer(batch)
    expected = other.infer(batch)
    assert found.shape == expected.shape == (count, golden["latents"].shape[1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_prepares_for_few_sizes_only(
    bundle: Bundle, network: NetworkSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = loaded(bundle, network)
    side = bundle.arrays(str(bundle.model.streams[0].parity))["patches"].shape[1:]
    batch = np.random.default_rng(4).random((BLOCK, *side), np.float32)
    whole = backend.infer(batch)
    sizes: list[int] = []
    inner = backend._request

    class Spy:
        get_tensor = inner.get_tensor

        def infer(self, inputs: dict[str, np.ndarray], *, share_inputs: bool) -> None:
            sizes.append(len(inputs[network.input]))
            inner.infer(inputs, share_inputs=share_inputs)

    monkeypatch.setattr(backend, "_request", Spy())
    for count in range(1, BLOCK + 1):
        np.testing.assert_allclose(
            backend.infer(batch[:count]), whole[:count], rtol=1e-5, atol=1e-6
        )
    assert sizes == [1, 2, 3, 4, *[8] * 4, *[12] * 4, *[16] * 4]


def test_a_batch_of_another_shape_is_refused(bundle: Bundle, network: NetworkSpec) -> None:
    with pytest.raises(DataError, match="the network wants N x"):
        loaded(bundle, network).infer(np.zeros((2, 3, 5, 5), np.float32))


def test_a_truncated_file_is_named(bundle: Bundle, network: NetworkSpec, tmp_path: Path) -> None:
    whole = bundle.path(network.files["fp32"]).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    backend = OpenVinoCpu(input_name=network.input, output_name=network.output)
    with pytest.raises(DataError, match=r"OpenVINO cannot load cut\.onnx"):
        backend.load(tmp_path / "cut.onnx")


def test_without_the_package_the_extra_is_named(
    bundle: Bundle, network: NetworkSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(UnavailableError, match="OpenVINO is not installed") as error:
        loaded(bundle, network)
    assert "cpu-fast" in str(error.value.mend)


def as_if_int8(network: NetworkSpec, *, parameters: int) -> NetworkSpec:
    """The FP32 file under the name of an INT8 one: only the choice is looked at."""
    files = {"int8": network.files["fp32"], "fp32": network.files["fp32"]}
    return network.model_copy(update={"files": files, "parameters": parameters})


def test_auto_takes_it_for_int8_of_a_large_network(bundle: Bundle, network: NetworkSpec) -> None:
    large = as_if_int8(network, parameters=choose.LARGE_PARAMETERS)
    small = as_if_int8(network, parameters=choose.LARGE_PARAMETERS - 1)
    assert open_backend(bundle, large).name == "openvino-cpu"
    assert open_backend(bundle, small).name == "onnxruntime-cpu"


def test_auto_goes_on_where_it_fails_the_gate_and_by_name_it_is_an_error(
    bundle: Bundle, network: NetworkSpec
) -> None:
    def gate(backend: Backend) -> None:
        if backend.name == OpenVinoCpu.name:
            raise DataError("outputs differ")

    large = as_if_int8(network, parameters=choose.LARGE_PARAMETERS)
    assert open_backend(bundle, large, gate=gate).name == "onnxruntime-cpu"
    with pytest.raises(DataError, match="outputs differ"):
        open_backend(bundle, large, name="openvino-cpu", gate=gate)


def test_the_last_resort_must_pass_the_gate(bundle: Bundle, network: NetworkSpec) -> None:
    def gate(_: Backend) -> None:
        raise DataError("outputs differ")

    with pytest.raises(DataError, match="outputs differ"):
        open_backend(bundle, network, gate=gate)
