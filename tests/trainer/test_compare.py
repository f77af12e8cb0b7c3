"""`vigil compare`: a row for each preset that is there, run once, beside the speed baseline."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from support.clips import MemoryClip

from engines.errors import DataError, UsageError
from trainer import preset as preset_module
from trainer.ablation.detectors import LEFT_OUT, detectors_plan
from trainer.ablation.recipe import check_rows
from trainer.ablation.render import PRECISIONS
from trainer.cli.compare import compare
from trainer.evaluation.clip_protocol import clip_normalised_auc
from trainer.evaluation.report_facts import UNDEFINED
from trainer.evaluation.result import ClipTimeline
from trainer.preset import families, load_preset

SPEED = {
    "detector": "speed",
    "frame": {"width": 168, "height": 112},
    "streams": [
        {
            "name": "motion",
            "kind": "speed",
            "encoder": "none",
            "statistics": "picture",
            "weight": 1.0,
        }
    ],
}
LEVELS = {
    **SPEED,
    "detector": "mulde",
    "streams": [{**SPEED["streams"][0], "head": "log-density"}],
    "density": {"hidden": [16], "levels": 3, "epochs": 3, "batch": 32, "components": [1]},
}


def timeline(score: list[float], truth: tuple[tuple[int, int], ...] | None) -> ClipTimeline:
    return ClipTimeline(
        name="t",
        fps=10.0,
        index=np.arange(len(score)),
        score=np.array(score),
        truth=truth,
        alarms=(),
        skipped=0,
        auc=None,
    )


def test_scores_are_normalised_inside_each_clip() -> None:
    # As they are, 12 and 11 of the loud clip hide 3; inside its clip each peak is highest.
    quiet, loud = timeline([1, 1, 3, 1], ((2, 3),)), timeline([11, 20, 11, 12], ((1, 2),))
    assert clip_normalised_auc([quiet, loud]) == 1.0
    assert clip_normalised_auc([quiet, timeline([11, 20, 11, 12], ((2, 3),))]) == pytest.approx(
        (5.5 + 2) / 12
    )
    assert clip_normalised_auc([quiet, timeline([5, 5], ())]) == 1.0
    assert clip_normalised_auc([timeline([1, 2], None)]) is None
    assert clip_normalised_auc([timeline([1, 2], ())]) is None


def test_every_shipped_preset_but_short_ones_has_a_row_that_can_be_run() -> None:
    plan = detectors_plan("UCSD Ped2")
    rows = {row.name: row for row in plan.plan.rows}
    shipped = {name for names in families().values() for name in names}
    assert set(rows) == shipped - LEFT_OUT
    assert plan.plan.groups[0].base_name == "speed"
    check_rows(plan, plan.plan.rows)
    assert rows["paper"].beside is not None
    assert rows["paper"].beside.frame_auc == 92.2
    assert rows["mulde"].beside is not None
    assert rows["speed"].beside is None
    assert rows["accurate"].beside is None  # what its authors report is of another recipe
    elsewhere = detectors_plan("a car park")
    assert all(row.beside is None for row in elsewhere.plan.rows)
    with pytest.raises(DataError):
        detectors_plan("a car park", {})


def test_a_preset_says_which_family_it_is_of() -> None:
    found = families()
    assert "mulde" in found["mulde"]
    assert {"accurate", "demo", "fast", "paper"} <= set(found["gmfc-vae"])
    for detector, names in found.items():
        assert {load_preset(name).detector for name in names} == {detector}


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    for name, raw in (("speed", SPEED), ("mulde", LEVELS), ("demo", SPEED)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    monkeypatch.setattr(preset_module, "PRESETS", folder)


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """Slow squares; in the test clip a bright bar rushes through frames 8 to 15."""
    root = tmp_path / "yard"
    clips = {f"normal/n{n}": MemoryClip(length=24, seed=n, speed=2) for n in range(4)}
    clips["test/t"] = MemoryClip(length=20, seed=7, speed=2)
    for frame in clips["test/t"].frames[8:16]:
        left = 12 * (frame.index - 8)
        frame.bgr[40:70, left : left + 24] = 250
    for name, clip in clips.items():
        (root / name).mkdir(parents=True)
        for frame in clip.frames:
            cv2.imwrite(str(root / name / f"{frame.index:03d}.png"), frame.bgr)
    (root / "labels.csv").write_text("clip,first,last\nt,8,15\n", encoding="utf-8")
    return root


def call(yard: Path, *more: str) -> Result:
    arguments = ["--dataset", str(yard), "--threads", "1", "--device", "cpu", *more]
    return CliRunner().invoke(compare, arguments)


@pytest.mark.usefixtures("presets")
def test_one_table_from_one_command_which_goes_on(yard: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "page.html"
    first = call(yard, "--out", str(out), "--only", "speed", "--json", "-")
    assert first.exception is None
    rows = {row["name"]: row for row in json.loads(first.stdout)["groups"][0]["rows"]}
    assert (rows["speed"]["state"], rows["mulde"]["state"]) == ("done", "pending")
    second = call(yard, "--out", str(out), "--int8", "--json", "-", "--html", str(page))
    assert second.exception is None
    assert "speed, seed 0: done" in second.stderr
    rows = {row["name"]: row for row in json.loads(second.stdout)["groups"][0]["rows"]}
    assert set(rows) == {"speed", "mulde"}
    for row in rows.values():
        assert row["state"] == "done"
        assert row["frame_auc"]["mean"] > 0.7
        assert 0 <= row["clip_normalised_frame_auc"]["mean"] <= 1
    # One clip: its own minimum and maximum change no order.
    speed = rows["speed"]
    assert speed["clip_normalised_frame_auc"]["mean"] == pytest.approx(speed["frame_auc"]["mean"])
    assert (speed["parameters"], speed["network_bytes"]) == (0, 0)
    sizes = rows["mulde"]["precision_bytes"]
    assert 2 * rows["mulde"]["parameters"] < rows["mulde"]["network_bytes"] == sizes["fp16"]
    assert sizes["fp32"] > 2 * rows["mulde"]["parameters"]  # as they are shipped
    assert ("int8" in sizes) == ("no INT8" not in second.stderr)
    shown = " / ".join(f"{sizes[p] / 1e6:.2f}" if p in sizes else UNDEFINED for p in PRECISIONS)
    assert shown in second.stderr
    assert "by clip" in page.read_text()
    # Nor the networks that a log-density's folds leave behind.
    assert not [*out.rglob("*.onnx"), *out.rglob("*.pt")]
    wrong = call(yard, "--out", str(out), "--only", "nothing")
    assert isinstance(wrong.exception, UsageError)
