"""A run directory is started once, gone on with only by the same recipe, and never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.errors import CannotCreateError, DataError, UsageError
from trainer.preset import Preset, load_preset
from trainer.run_directory import RunDirectory, open_run

SPLIT = {"kind": "clips", "fit": ["a", "b"], "held_out": ["c"], "threshold": ["d"]}


def start(root: Path, *, resume: bool = False, seed: int = 0, **settings: int) -> RunDirectory:
    preset = load_preset("demo", [f"training.{key}={value}" for key, value in settings.items()])
    return open_run(
        root,
        resume=resume,
        preset=preset,
        dataset="ped2",
        seed=seed,
        split=SPLIT,
        command="vigil",
    )


def test_a_fresh_run_writes_recipe_and_record(tmp_path: Path) -> None:
    start(tmp_path / "run")
    assert isinstance(load_preset(str(tmp_path / "run" / "preset.yaml")), Preset)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["seed"] == 0
    assert record["command"] == "vigil"
    assert record["finished"] is False
    assert record["preset"]["training"]["batch"] == 100


def test_a_run_is_not_started_over_by_accident(tmp_path: Path) -> None:
    start(tmp_path)
    with pytest.raises(UsageError, match="holds a run already") as caught:
        start(tmp_path)
    assert "--resume" in str(caught.value.mend)


def test_resume_goes_on_with_the_same_recipe(tmp_path: Path) -> None:
    start(tmp_path).note(scales={"motion": 2.0})
    assert start(tmp_path, resume=True).record["scales"] == {"motion": 2.0}


def test_resume_of_another_recipe_names_what_differs(tmp_path: Path) -> None:
    start(tmp_path)
    with pytest.raises(UsageError) as caught:
        start(tmp_path, resume=True, seed=1, patches=5)
    assert "preset.training.patches: 100000, now 5" in caught.value.what
    assert "seed: 0, now 1" in caught.value.what
    assert "batch" not in caught.value.what


def test_resume_with_other_footage_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of some clips, statistics and a threshold of others: of the parts none is proven."""
    start(tmp_path)
    monkeypatch.setitem(SPLIT, "fit", ["a", "b", "e"])
    with pytest.raises(UsageError) as caught:
        start(tmp_path, resume=True)
    assert "split.fit: 2 clips, now 3 (e)" in caught.value.what
    assert "threshold" not in caught.value.what


def test_resume_without_a_run_starts_one(tmp_path: Path) -> None:
    assert start(tmp_path / "new", resume=True).record["finished"] is False


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(CannotCreateError, match="left alone"):
        start(tmp_path)
    with pytest.raises(CannotCreateError, match="left alone"):
        start(tmp_path / "holiday.jpg")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        start(tmp_path, resume=True)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(DataError, match="not the record"):
        start(tmp_path, resume=True)


def test_patches_can_be_dropped(tmp_path: Path) -> None:
    run = start(tmp_path)
    (run.patches / "fit").mkdir(parents=True)
    run.drop_patches()
    run.drop_patches()
    assert not (tmp_path / "patches").exists()
    assert run.stream("motion").parent.name == "streams"
