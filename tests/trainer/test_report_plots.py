"""Drawings keep what matters when they are thinned, and share one axis."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.metrics_frame import roc
from trainer.evaluation.report_plots import (
    MAX_POINTS,
    SERIES,
    CurveLine,
    _thinned,
    roc_svg,
    score_ceiling,
    timeline_svg,
)
from trainer.evaluation.result import ClipTimeline, Rates

Runs = tuple[tuple[int, int], ...]


def clip(
    score: np.ndarray, truth: Runs | None = ((10, 20),), alarms: Runs = ((12, 20),)
) -> ClipTimeline:
    return ClipTimeline(
        name="clip",
        fps=10.0,
        index=np.arange(score.size),
        score=score,
        truth=truth,
        alarms=alarms,
        skipped=0,
        auc=None,
    )


def test_thinning_keeps_every_peak_and_trough() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=50_000)
    y[31_234], y[40_001] = 50.0, -50.0
    x, kept = _thinned(np.arange(50_000.0), y)
    assert x.size <= MAX_POINTS + 2
    assert (np.diff(x) > 0).all()
    assert (kept.max(), kept.min()) == (50.0, -50.0)
    assert x[kept.argmax()] == 31_234


def test_short_series_are_not_thinned() -> None:
    x, y = _thinned(np.arange(5.0), np.arange(5.0))
    assert x.size == y.size == 5


def test_the_axis_holds_the_scores_and_the_threshold() -> None:
    clips = [clip(np.full(30, 2.0)), clip(np.full(30, 4.0))]
    assert score_ceiling(clips, None) == pytest.approx(1.05 * 4.0)
    assert score_ceiling(clips, 9.0) == pytest.approx(1.05 * 9.0)
    assert score_ceiling([clip(np.zeros(30))], None) > 0.0


def test_a_timeline_shades_truth_and_marks_alarms() -> None:
    svg = timeline_svg(clip(np.linspace(0, 5, 40)), threshold=3.0, top=6.0, number=1)
    for variable in ("--truth", "--alarm", "--limit", "--series-1"):
        assert f"var({variable})" in svg
    plain = timeline_svg(
        clip(np.linspace(0, 5, 40), truth=None, alarms=()), threshold=None, top=6.0, number=1
    )
    for variable in ("--truth", "--alarm", "--limit"):
        assert f"var({variable})" not in plain


def test_a_roc_has_its_curves_and_the_operating_point() -> None:
    labels = np.array([False, True] * 10)
    line = CurveLine(roc(labels, np.arange(20.0)), SERIES[1], (5.0, 2.0))
    svg = roc_svg([line], found="found", operating_point=Rates(0.2, 0.7))
    assert "var(--series-2)" in svg
    assert "stroke-dasharray" in svg
    assert "var(--alarm)" in svg
    assert "var(--alarm)" not in roc_svg([line], found="found")
