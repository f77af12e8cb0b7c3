"""`vigil evaluate` on rendered clips: a real bundle, the real pipeline, the real baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.bundles import tiny_bundle
from support.clips import MemoryClip, write_pictures, write_rush

from edge.cli.main import _run
from trainer.cli.evaluate import evaluate


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """normal/ with slow squares; test/ with a bright bar that rushes through frames 15 to 29."""
    root = tmp_path_factory.mktemp("yard")
    for seed in (1, 2):
        write_pictures(root / "normal" / f"n{seed}", MemoryClip(length=40, seed=seed, speed=2))
    for seed in (3, 4):
        clip = MemoryClip(length=40, seed=seed, speed=2)
        write_rush(root, f"t{seed}", clip, frames=range(15, 30), step=8)
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(folder / "bundle", workspace=folder).root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(a) for a in arguments], catch_exceptions=False)


def test_table_json_and_html_in_one_go(bundle: Path, yard: Path, tmp_path: Path) -> None:
    json_file, html_file = tmp_path / "out" / "figures.json", tmp_path / "out" / "report.html"
    result = call(
        bundle, "--dataset", yard, "--json", json_file, "--html", html_file, "--threads", 1
    )
    assert result.exit_code == 0
    values = json.loads(json_file.read_text())
    assert values["frames"] == 80
    assert values["fps"] > 0
    assert values["threads"] == 1
    # What rushes is what the speed baseline sees best.
    assert values["baseline_frame_auc"] > 0.9
    assert 0.0 <= values["frame_auc"] <= 1.0
    assert 0.0 <= values["pixel_auc"] <= 1.0
    assert values["events_total"] == 2
    assert set(values["streams"]) == {"appearance", "motion"}
    assert "observe" in values["stage_ms"]
    assert all(backend for backend in values["backends"].values())
    assert "Baseline (speed)" in result.stdout
    assert f"{100 * values['frame_auc']:.1f}" in result.stdout
    assert "[2/2] t4: 40 frames" in result.stderr
    page = html_file.read_text()
    assert page.startswith("<!doctype html>")
    assert "Baseline (speed)" in page


def test_json_to_standard_output_is_alone_there(bundle: Path, yard: Path) -> None:
    result = call(bundle, "--dataset", yard, "--json", "-", "--no-baseline")
    values = json.loads(result.stdout)
    assert values["baseline_frame_auc"] is None
    assert "frame AUC" in result.stderr


def test_a_second_run_gives_the_same_figures(bundle: Path, yard: Path) -> None:
    first, second = (
        json.loads(call(bundle, "--dataset", yard, "--json", "-", "--no-baseline").stdout)
        for _ in range(2)
    )
    for key in ("frame_auc", "frame_eer", "pixel_auc", "rbdc", "streams", "events_found", "clips"):
        assert first[key] == second[key]


def test_without_motion_in_training_there_is_a_note_and_no_baseline(
    bundle: Path, yard: Path, tmp_path: Path
) -> None:
    (tmp_path / "still" / "normal").mkdir(parents=True)
    wall = MemoryClip(length=6, speed=0)
    write_pictures(tmp_path / "still" / "normal" / "n", wall)
    write_pictures(tmp_path / "still" / "test" / "t", wall)
    result = call(bundle, "--dataset", tmp_path / "still", "--json", "-")
    values = json.loads(result.stdout)
    assert values["baseline_frame_auc"] is None
    assert any("nothing moves" in note for note in values["notes"])
    assert values["frames"] == 6


@pytest.mark.parametrize(
    ("part", "code", "words"),
    [
        ("gone", 66, "gone"),
        ("only-normal", 66, "no test clips"),
    ],
)
def test_data_that_is_not_there_is_a_clear_error(
    bundle: Path,
    yard: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    code: int,
    words: str,
) -> None:
    write_pictures(tmp_path / "only-normal" / "normal" / "n", MemoryClip(length=4))
    assert _run(["evaluate", str(bundle), "--dataset", str(tmp_path / part)]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_an_unwritable_report_is_a_clear_error(
    bundle: Path, yard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "report.html"
    arguments = ["evaluate", str(bundle), "--dataset", str(yard), "--no-baseline"]
    assert _run([*arguments, "--html", str(target)]) == 73
    assert "report.html" in capsys.readouterr().err
