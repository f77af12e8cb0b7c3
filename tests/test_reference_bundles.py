"""What lies in engines/reference is what README says of it."""

import json
from pathlib import Path

import onnx
import pytest

from edge.pipeline import Pipeline
from engines.bundle import load_bundle
from trainer.datasets.layouts import open_dataset
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.report_json import json_from_evaluation

REPOSITORY = Path(__file__).resolve().parent.parent
REFERENCE = REPOSITORY / "engines" / "reference"
FIGURES = REPOSITORY / "docs" / "figures"
BUNDLES = sorted(path.parent for path in REFERENCE.glob("*/manifest.json"))
# What is deployed, together; `paper` is there for comparison.
DEPLOYED = ("ucsd_ped2", "ucsd_ped2_fast")
DEPLOYED_MB, PAPER_MB = 15.0, 8.0


def megabytes(bundle: Path) -> float:
    return sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) / 1e6


def test_there_are_three_and_they_are_small_enough() -> None:
    assert [bundle.name for bundle in BUNDLES] == ["ucsd_ped2", "ucsd_ped2_fast", "ucsd_ped2_paper"]
    assert sum(megabytes(REFERENCE / name) for name in DEPLOYED) <= DEPLOYED_MB
    assert megabytes(REFERENCE / "ucsd_ped2_paper") <= PAPER_MB


def test_the_licence_of_the_pretrained_weights_lies_beside_them() -> None:
    notice = (REFERENCE / "NOTICE.md").read_text()
    assert "Apache-2.0" in notice
    assert "EfficientNet-Lite0" in notice


@pytest.mark.parametrize("root", BUNDLES, ids=lambda path: path.name)
def test_it_is_whole_and_passes_its_own_parity_gate(root: Path) -> None:
    bundle = load_bundle(root)
    assert bundle.alarm is not None
    with Pipeline(bundle, threads=1) as pipeline:
        assert set(pipeline.backends) == {s.name for s in bundle.model.streams if s.network}
    # Nothing of the machine that made it.
    assert "/" not in bundle.model.training.command


@pytest.mark.parametrize("file", sorted(REFERENCE.glob("*/networks/*.onnx")), ids=lambda f: f.name)
def test_every_network_is_valid_onnx(file: Path) -> None:
    """ONNX Runtime also takes nodes in an order that the format, and a strict parser, forbids."""
    onnx.checker.check_model(onnx.load(file), full_check=True)


@pytest.mark.parametrize(("preset", "clips"), [("fast", 2), ("accurate", 1)])
def test_it_gives_the_committed_figures_on_real_clips(
    footage: Path, preset: str, clips: int
) -> None:
    """One or two of the twelve test clips, so that the check stays short."""
    committed = json.loads((FIGURES / f"ucsd_ped2_{preset}_seed0.json").read_text())
    name = {"fast": "ucsd_ped2_fast", "accurate": "ucsd_ped2"}[preset]
    dataset = open_dataset(footage / "ucsd_ped2")
    # The first one has normal and anomalous frames, so its own AUC is defined.
    some = type(dataset)(**{**vars(dataset), "test": dataset.test[:clips]})
    found = json.loads(
        json_from_evaluation(
            evaluate_bundle(load_bundle(REFERENCE / name), some, threads=2, baseline=False)
        )
    )
    for now, then in zip(found["clips"], committed["clips"], strict=False):
        assert now["name"] == then["name"]
        assert now["frame_auc"] == pytest.approx(then["frame_auc"], abs=2e-3)
        assert now["frames"] == then["frames"]
