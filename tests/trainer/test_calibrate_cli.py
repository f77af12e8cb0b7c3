"""`vigil calibrate`: writes only the threshold, says what stands behind it, and `--dry-run`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.bundles import tiny_bundle
from support.clips import MemoryClip
from support.graded import RULE, PaintedPipeline, write_clip

from calibration.alarm_rule import AlarmRule, alarm_events
from calibration.poisson import poisson_upper_limit
from calibration.threshold import fit_threshold
from edge.cli.main import _run
from engines.bundle import Bundle, load_bundle
from trainer.cli.calibrate import calibrate
from trainer.datasets.layouts import open_normal
from trainer.recalibrate import recalibrate, score_series


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle", workspace=tmp_path)


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of moving squares, as folders of pictures."""
    root = tmp_path_factory.mktemp("normal")
    for seed, name in enumerate(("north", "south"), start=5):
        (root / name).mkdir()
        for frame in MemoryClip(name=name, length=40, seed=seed).frames:
            cv2.imwrite(str(root / name / f"{frame.index:03d}.png"), frame.bgr)
    return root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(calibrate, [str(a) for a in arguments], catch_exceptions=False)


def test_the_threshold_is_replaced_and_nothing_else(bundle: Bundle, normal: Path) -> None:
    before = {p: p.read_bytes() for p in bundle.root.rglob("*") if p.is_file()}
    result = call(bundle.root, "--normal", normal, "--false-alarms-per-day", 10, "--threads", 1)
    assert result.exit_code == 0
    after = load_bundle(bundle.root)  # verifies sizes and hashes
    changed = {p.name for p, data in before.items() if p.read_bytes() != data}
    assert changed <= {"alarm.json", "manifest.json"}
    assert after.alarm.budget_per_hour == pytest.approx(10 / 24)
    assert after.alarm.source == "2 normal clips: north, south"
    assert after.alarm.hours == pytest.approx(80 / 10 / 3600, rel=0.05)
    assert f"{after.alarm.threshold:.4f} (before: {bundle.alarm.threshold:.4f})" in result.stdout
    assert "extrapolated" in result.stdout  # eight seconds prove nothing about a day
    assert "95 % interval" in result.stdout


def test_a_dry_run_changes_nothing(bundle: Bundle, normal: Path) -> None:
    before = {p: p.read_bytes() for p in bundle.root.rglob("*") if p.is_file()}
    result = call(bundle.root, "--normal", normal, "--false-alarms-per-day", 10, "--dry-run")
    assert "not written" in result.stdout
    assert {p: p.read_bytes() for p in bundle.root.rglob("*") if p.is_file()} == before


def test_json_is_alone_on_standard_output(bundle: Bundle, normal: Path) -> None:
    result = call(bundle.root, "--normal", normal, "--false-alarms-per-day", 48, "--json")
    values = json.loads(result.stdout)
    assert values["written"] is True
    assert values["false_alarms_per_day"] == pytest.approx(48)
    assert values["old_threshold"] == bundle.alarm.threshold
    assert values["threshold"] == load_bundle(bundle.root).alarm.threshold
    assert values["extrapolated"] is True
    low, high = values["interval"]
    assert low <= values["threshold"] <= high
    assert "threshold" in result.stderr


def test_progress_names_every_clip_on_standard_error(bundle: Bundle, normal: Path) -> None:
    result = call(bundle.root, "--normal", normal, "--false-alarms-per-day", 10, "--dry-run")
    assert "[1/2] north: 40 frames" in result.stderr
    assert "[2/2] south: 40 frames" in result.stderr


@pytest.mark.parametrize("budget", ["0", "-1", "many"])
def test_a_budget_that_is_no_rate_is_refused(bundle: Bundle, normal: Path, budget: str) -> None:
    arguments = [str(bundle.root), "--normal", str(normal), "--false-alarms-per-day", budget]
    assert CliRunner().invoke(calibrate, arguments).exit_code == 2


def test_missing_footage_and_missing_bundle_are_three_lines(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = ["--false-alarms-per-day", "1"]
    gone = ["calibrate", str(bundle.root), "--normal", str(tmp_path / "gone")]
    assert _run([*gone, *budget]) == 66
    no_bundle = ["calibrate", str(tmp_path / "none"), "--normal", str(tmp_path)]
    assert _run([*no_bundle, *budget]) == 66
    error = capsys.readouterr().err
    assert "gone" in error
    assert "Traceback" not in error


def test_known_scores_give_the_threshold_of_the_calibration(tmp_path: Path) -> None:
    """Painted normal footage: two hours' worth of scores at one frame in 36 s, peaks known."""
    rng = np.random.default_rng(3)
    peaks = np.round(rng.uniform(1.0, 9.0, 100), 1)
    write_clip(tmp_path / "yard" / "day", [{(0, 0): float(p)} for p in peaks], rest=0.5)
    clips = open_normal(tmp_path / "yard", fps=1 / 36)
    (series,) = score_series(PaintedPipeline(), clips)
    assert series[1] == pytest.approx(peaks)
    assert series[0] == pytest.approx(np.arange(100) * 36.0)

    old = RULE.model_copy(update={"open_frames": 1, "close_s": 40.0, "merge_s": 0.0})
    alarm = recalibrate(
        PaintedPipeline(), clips, rule=old, false_alarms_per_day=240.0, confidence=0.9
    )
    direct = fit_threshold(
        [series],
        budget_per_hour=10.0,
        confidence=0.9,
        open_frames=1,
        close_s=40.0,
        merge_s=0.0,
        source="1 normal clip: day",
    )
    assert alarm == direct
    assert not alarm.extrapolated
    assert alarm.hours == pytest.approx(1.0, rel=0.02)
    events = len(alarm_events(*series, alarm))
    assert alarm.events_seen == events
    assert alarm.proven_per_hour == pytest.approx(poisson_upper_limit(events, 0.9) / alarm.hours)
    assert alarm.proven_per_hour <= 10.0


def test_a_bundle_without_a_threshold_starts_from_the_default_rule(tmp_path: Path) -> None:
    write_clip(tmp_path / "yard" / "day", [{(0, 0): 1.0 + i % 7} for i in range(60)], rest=0.5)
    alarm = recalibrate(
        PaintedPipeline(),
        open_normal(tmp_path / "yard", fps=10.0),
        rule=AlarmRule(threshold=0.0),
        false_alarms_per_day=1.0,
        confidence=0.95,
    )
    assert (alarm.open_frames, alarm.close_s, alarm.merge_s) == (3, 1.0, 1.0)


def test_many_clips_are_counted_not_listed(tmp_path: Path) -> None:
    for number in range(11):
        write_clip(tmp_path / f"c{number:02d}", [{(0, 0): 1.0 + i % 5} for i in range(12)])
    alarm = recalibrate(
        PaintedPipeline(),
        open_normal(tmp_path, fps=10.0),
        rule=AlarmRule(threshold=0.0),
        false_alarms_per_day=1.0,
        confidence=0.95,
    )
    assert alarm.source.startswith("11 normal clips: c00, c01")
    assert alarm.source.endswith("and 3 more")
