"""The exported encoder under ONNX Runtime against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import InternalError
from trainer import export
from trainer.export import (
    OPSET,
    ExportedEncoder,
    RebuildingEncoder,
    deployed_parameters,
    export_network,
    latents,
)
from trainer.models.gmfc_vae import Decoder, Encoder

TABLE_ONE = (64, 128, 256, 64)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Path, float]:
    torch.manual_seed(0)
    encoder = Encoder(TABLE_ONE, 64, 28)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(2.0)  # latent values of order 1, as after training
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    return encoder, path, export_network(ExportedEncoder(encoder), path, side=28)


def test_error_is_measured_and_small(exported: tuple[Encoder, Path, float]) -> None:
    assert 0.0 < exported[2] < 1e-5


@pytest.mark.parametrize("batch", [0, 1, 7, 150])
def test_any_batch_gives_the_latent_means(
    exported: tuple[Encoder, Path, float], batch: int
) -> None:
    encoder, path, _ = exported
    patches = np.random.default_rng(1).random((batch, 3, 28, 28), dtype=np.float32)
    backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", threads=1)
    backend.load(path)
    result = backend.infer(patches)
    assert result.shape == (batch, 64)
    np.testing.assert_allclose(result, latents(encoder, patches), atol=1e-5)


def test_the_graph_is_what_the_bundle_promises(exported: tuple[Encoder, Path, float]) -> None:
    encoder, path, _ = exported
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", OPSET)]
    assert {node.op_type for node in model.graph.node} <= {"Conv", "Relu", "Reshape", "Flatten"}
    assert deployed_parameters(ExportedEncoder(encoder)) == 633_024 + 64 * 64 + 64
    # float32 weights and a few hundred bytes of graph, nothing else
    assert path.stat().st_size < 4 * deployed_parameters(ExportedEncoder(encoder)) + 8192


def test_the_file_names_no_path_of_the_machine(exported: tuple[Encoder, Path, float]) -> None:
    data = exported[1].read_bytes()
    assert b"site-packages" not in data
    assert b".py" not in data


def test_the_same_encoder_gives_the_same_file(
    exported: tuple[Encoder, Path, float], tmp_path: Path
) -> None:
    export_network(ExportedEncoder(exported[0]), tmp_path / "again.onnx", side=28)
    assert (tmp_path / "again.onnx").read_bytes() == exported[1].read_bytes()


def test_exporting_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    encoder = Encoder((4, 4, 4, 4), 3, 8).double().train()
    export_network(ExportedEncoder(encoder), tmp_path / "encoder.onnx", side=8)
    assert encoder.training
    assert next(encoder.parameters()).dtype == torch.float64


def test_a_file_that_differs_from_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file holds other weights than the network it is compared with."""
    torch.manual_seed(0)
    encoder, other = Encoder((4, 4, 4, 4), 3, 8), Encoder((4, 4, 4, 4), 3, 8)
    wrong = export._onnx_bytes(export.ExportedEncoder(other).eval(), (3, 8, 8))
    monkeypatch.setattr(export, "_onnx_bytes", lambda *_: wrong)
    with pytest.raises(InternalError, match="differ by"):
        export_network(ExportedEncoder(encoder), tmp_path / "encoder.onnx", side=8)


def test_how_badly_a_patch_is_rebuilt_is_the_last_coordinate(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder((8, 8, 8, 8), 5, 28), Decoder((8, 8, 8, 8), 5, 28)
    module = RebuildingEncoder(encoder, decoder)
    path = tmp_path / "encoder.onnx"
    export_network(module, path, side=28)
    patches = np.random.default_rng(1).random((6, 3, 28, 28), dtype=np.float32)
    found = latents(module, patches)
    assert found.shape == (6, 6)
    x = torch.from_numpy(patches)
    with torch.no_grad():
        z = encoder(x)
        error = (x - decoder(z)).square().mean((1, 2, 3))
    np.testing.assert_allclose(found[:, :5], z.numpy(), atol=1e-6)
    np.testing.assert_allclose(found[:, 5], np.log(error.numpy() + 1e-5), atol=1e-5)
    assert {"ConvTranspose", "Log"} <= {node.op_type for node in onnx.load(path).graph.node}
