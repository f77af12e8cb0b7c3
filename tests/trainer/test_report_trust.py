"""The table of trust: kinds by streams, the best marked, and what was left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.graded import PaintedPipeline, open_known_dataset, painted_bundle

from engines.model_spec import TrustRecord
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.report_trust import (
    KIND_WORDS,
    PRESET,
    trust_rows,
    trust_values,
    weights_of,
)
from trainer.evaluation.result import Evaluation
from trainer.synthetic.kinds import KINDS

RECORD = TrustRecord(
    reason="learned on 4 clips",
    clips=4,
    frames=1240,
    streams={"appearance": {"fast": 0.2, "near": 0.9}, "motion": {"fast": 0.8}},
    fused={"fast": 0.85, "near": 0.88},
    left_out={"frozen": "nobody stands apart"},
)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("trust")
    bundle = painted_bundle(folder / "bundle", folder)
    dataset = open_known_dataset(folder / "yard")
    return evaluate_bundle(
        bundle, dataset, baseline=False, open_pipeline=lambda _: PaintedPipeline()
    )


def test_every_kind_that_can_be_planted_has_words() -> None:
    assert set(KINDS) <= set(KIND_WORDS)


def test_kinds_by_streams_with_the_best_marked(evaluation: Evaluation) -> None:
    rows = trust_rows(dataclasses.replace(evaluation, trust=RECORD))
    assert [stream["name"] for stream in rows["streams"]] == ["appearance", "motion"]
    assert [stream["weight"] for stream in rows["streams"]] == ["0.50", "0.50"]
    fast, near = rows["kinds"]
    assert (fast["name"], fast["fused"]) == ("fast", "85.0")
    assert [(one["figure"], one["best"]) for one in fast["alone"]] == [
        ("20.0", False),
        ("80.0", True),
    ]
    # A stream without a figure for a kind has a dash there.
    assert near["alone"][1] == {"figure": "\N{EN DASH}", "best": False}
    assert rows["left_out"][0]["why"] == "nobody stands apart"
    assert rows["measured"] == "4 synthetic clips, 1,240 frames"
    values = trust_values(dataclasses.replace(evaluation, trust=RECORD))
    assert values is not None
    assert values["streams"]["motion"] == {"fast": 0.8}


def test_without_a_record_the_weights_are_the_presets(evaluation: Evaluation) -> None:
    rows = trust_rows(evaluation)
    assert (rows["reason"], rows["kinds"], rows["left_out"]) == (PRESET, [], [])
    assert trust_values(evaluation) is None
    assert weights_of(evaluation) == {"appearance": 0.5, "motion": 0.5}
    assert np.isclose(sum(weights_of(evaluation).values()), 1.0)
