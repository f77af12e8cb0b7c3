"""What lies in engines/reference is what README says of it."""

import json
from pathlib import Path

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
LARGEST_MB = 10.0


def test_there_are_two_and_they_are_small_enough_together() -> None:
    assert [bundle.name for bundle in BUNDLES] == ["ucsd_ped2", "ucsd_ped2_paper"]
    size = sum(path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file())
    assert size < LARGEST_MB * 1e6


@pytest.mark.parametrize("root", BUNDLES, ids=lambda path: path.name)
def test_it_is_whole_and_passes_its_own_parity_gate(root: Path) -> None:
    bundle = load_bundle(root)
    assert bundle.alarm is not None
    with Pipeline(bundle, threads=1) as pipeline:
        assert set(pipeline.backends) == {s.name for s in bundle.model.streams if s.network}
    # Nothing of the machine that made it.
    assert "/" not in bundle.model.training.command


def test_it_gives_the_committed_figures_on_two_real_clips(footage: Path) -> None:
    """Two of the twelve test clips, so that the check stays short; the figures hold all clips."""
    committed = json.loads((FIGURES / "ucsd_ped2_fast_seed0.json").read_text())
    dataset = open_dataset(footage / "ucsd_ped2")
    # The first one has normal and anomalous frames, so its own AUC is defined.
    some = type(dataset)(**{**vars(dataset), "test": dataset.test[:2]})
    found = json.loads(
        json_from_evaluation(
            evaluate_bundle(load_bundle(REFERENCE / "ucsd_ped2"), some, threads=2, baseline=False)
        )
    )
    for now, then in zip(found["clips"], committed["clips"], strict=False):
        assert now["name"] == then["name"]
        assert now["frame_auc"] == pytest.approx(then["frame_auc"], abs=2e-3)
        assert now["frames"] == then["frames"]
