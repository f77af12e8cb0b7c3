"""The paper's frame scores against their formulas, on numbers that can be done by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import InputMissingError
from trainer.evaluation.published_mnad import (
    FrameMeasures,
    anomaly_scores,
    load_mnad,
    measure_clip,
    regular_score,
)
from trainer.models.mnad import Mnad


def test_scores_are_normalised_over_the_whole_clip() -> None:
    measures = FrameMeasures(
        np.arange(3), psnr=np.array([30.0, 20.0, 25.0]), distance=np.array([0.1, 0.3, 0.1])
    )
    # Regular: 0.6 * (1, 0, 0.5) + 0.4 * (1, 0, 1).
    np.testing.assert_allclose(anomaly_scores(measures, 0.6), [0.0, 1.0, 0.3], atol=1e-12)
    flat = FrameMeasures(np.arange(2), np.array([1.0, 1.0]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(anomaly_scores(flat, 0.6), [0.6, 0.6])


def test_regular_score_weighs_errors_by_themselves() -> None:
    errors = torch.tensor([0.0, 0.1, 0.4])
    weights = [1 - math.exp(-e) for e in (0.0, 0.1, 0.4)]
    expected = (weights[1] * 0.1 + weights[2] * 0.4) / sum(weights)
    assert regular_score(errors) == pytest.approx(expected, rel=1e-6)
    assert regular_score(torch.zeros(4)) == 0.0


def small() -> Mnad:
    torch.manual_seed(3)
    model = Mnad(frames=4, channels=1, widths=(2, 3, 4, 5), items=2)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(2, 4, 16, 16))
    return model.eval()


def test_psnr_and_distance_of_each_frame() -> None:
    model, clip = small(), torch.rand(1, 5, 16, 16)
    with torch.no_grad():
        frame, queries, recall = model(clip[:, :4] * 2 - 1)
    error = float(((frame + 1) / 2 - clip[:, 4:]).square().mean())
    measures, written = measure_clip(model, iter([(7, clip)]), update_below=None)
    assert measures.index.tolist() == [7]
    assert written == 0
    assert measures.psnr[0] == pytest.approx(-10 * math.log10(error), rel=1e-5)
    near = model.memory.items[model.memory.similarities(queries).argmax(1)].permute(0, 3, 1, 2)
    assert measures.distance[0] == pytest.approx(float((queries - near).square().mean()), abs=1e-6)
    assert recall.nearest.shape == (1, 2, 2)


@pytest.mark.parametrize(("below", "written"), [(1.0, 2), (0.0, 0)])
def test_the_memory_is_written_with_regular_frames_alone(below: float, written: int) -> None:
    model = small()
    before = model.memory.items.clone()
    clips = [(n, torch.rand(1, 5, 16, 16)) for n in range(2)]
    assert measure_clip(model, iter(clips), update_below=below)[1] == written
    assert torch.equal(model.memory.items, before) is (written == 0)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no run directory"):
        load_mnad(tmp_path)
