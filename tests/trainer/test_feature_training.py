"""From normal clips to a bundle with windows, a backbone or its student, and learned trust."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.clips import MemoryClip

from edge.pipeline import Pipeline
from engines.bundle import Bundle, load_bundle
from trainer.datasets.clip import Dataset
from trainer.distributed import single
from trainer.preset import Preset, load_preset
from trainer.run_training import TrainingRequest, run_training

SMALL = [
    "frame.width=168",
    "frame.height=112",
    "features.frames=60",
    "features.components=20",
    "trust.per_kind=1",
    "trust.seconds=2.5",
    "trust.step=0.25",
    "student.frames=30",
    "student.variations=200",
    "student.epochs=2",
    "calibration.held_out=0.3",
]


def footage() -> Dataset:
    clips = tuple(
        MemoryClip(name=f"n{seed}", length=50, seed=seed, width=168, height=112)
        for seed in range(5)
    )
    return Dataset(
        name="squares",
        layout="folders",
        root=Path("squares"),
        train=clips,  # type: ignore[arg-type]  # a normal clip is all that training needs
        test=(),
        label_source="none",
    )


def train(preset: Preset, out: Path) -> Bundle:
    torch.set_num_threads(1)
    request = TrainingRequest(
        dataset=footage(), preset=preset, out=out, resume=True, command="tests", threads=1
    )
    bundle = run_training(request, single("cpu"))
    assert bundle is not None
    return bundle


@pytest.fixture(scope="module", params=["accurate", "fast"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    preset = load_preset(request.param, SMALL)
    return train(preset, tmp_path_factory.mktemp(request.param)).root


def test_the_bundle_says_what_its_weights_rest_on(trained: Path) -> None:
    model = load_bundle(trained).model
    assert model.trust is not None
    assert sum(stream.weight for stream in model.streams) == pytest.approx(1.0)
    for stream in model.streams:
        assert set(model.trust.streams[stream.name]) == set(model.trust.fused)
        assert f"{stream.name} {stream.weight:.2f}" in model.trust.reason
    window = model.streams[0].input.options
    assert 16 <= float(window["top"]) <= 84
    assert 16 <= float(window["bottom"]) <= 84


def test_a_student_takes_nothing_of_the_backbone_along(trained: Path) -> None:
    model = load_bundle(trained).model
    network = model.streams[0].network
    assert network is not None
    sizes = {p: (trained / file).stat().st_size for p, file in network.files.items()}
    if model.name == "fast":
        assert max(sizes.values()) < 1_500_000
        graph = onnx.load(trained / network.files["fp32"]).graph
        assert graph.input[0].type.tensor_type.shape.dim[1].dim_value == 1  # grey
    else:
        # Weights in half precision: 2.9 million of them, although it computes in FP32.
        assert 5_000_000 < sizes["fp32"] < 7_000_000


def test_what_is_fast_is_told_from_what_is_normal(trained: Path) -> None:
    with Pipeline(load_bundle(trained), threads=1) as pipeline:

        def peaks(clip: MemoryClip) -> dict[str, np.ndarray]:
            view = pipeline.new_view()
            maps = [pipeline.score(view, frame) for frame in clip.frames]
            assert all(np.isfinite(one.score) and one.map.shape == (14, 21) for one in maps)
            return {
                name: np.array([one.streams[name].peak for one in maps])
                for name in pipeline.streams
            }

        usual = peaks(MemoryClip(length=40, seed=50))
        fast = peaks(MemoryClip(length=15, seed=50, speed=9))
    assert np.median(fast["motion"][5:]) > np.quantile(usual["motion"][5:], 0.95)
    assert usual["appearance"].max() > 0.0


def test_going_on_with_a_finished_run_changes_nothing(trained: Path) -> None:
    name = load_bundle(trained).model.name
    before = load_bundle(trained).digest
    assert train(load_preset(name, SMALL), trained.parent).digest == before
