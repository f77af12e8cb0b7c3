"""`vigil train` from a folder of pictures to a bundle, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from support.clips import MemoryClip

from edge.cli.main import vigil
from engines.bundle import load_bundle
from engines.errors import DataError, InputMissingError, UsageError, VigilError
from trainer.cli.train import train
from trainer.preset import families, preset_names

CLIPS = 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    for number in range(CLIPS):
        write_clip(root / "normal" / f"clip{number}", MemoryClip(length=36, seed=number))
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    options = {"representation": "mean", "window": 5}
    path.write_text(
        yaml.safe_dump(
            {
                "frame": {"width": 168, "height": 112},
                "streams": [
                    {"name": "appearance", "kind": "appearance"},
                    {"name": "motion", "kind": "motion", "options": options},
                ],
                "model": {"filters": [4, 4, 8, 6], "latent": 4, "components": 3},
                "training": {
                    "patches": 400,
                    "held_out_patches": 100,
                    "batch": 20,
                    "learning_rate": 1e-3,
                    "pretrain": {"epochs": 1},
                    "joint": {"epochs": 1},
                },
                "em": {"restarts": 1, "patches": 400},
            }
        ),
        encoding="utf-8",
    )
    return path


def write_clip(folder: Path, clip: MemoryClip) -> None:
    folder.mkdir(parents=True)
    for frame in clip.frames:
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.bgr)


def call(dataset: Path, out: Path, recipe: Path, *more: str) -> Result:
    arguments = ["--dataset", str(dataset), "--out", str(out), "--preset", str(recipe)]
    return CliRunner().invoke(train, [*arguments, "--threads", "1", "--device", "cpu", *more])


@pytest.fixture(scope="module")
def finished(
    dataset: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("run") / "out"
    result = call(dataset, out, recipe, "--seed", "3", "--set", "training.joint.epochs=2")
    if result.exception is not None:
        raise result.exception
    return out, result


def test_a_bundle_lies_in_the_run_directory(finished: tuple[Path, Result]) -> None:
    out, result = finished
    bundle = load_bundle(out / "bundle")
    assert result.stdout.strip() == str(out / "bundle")
    assert [stream.name for stream in bundle.model.streams] == ["appearance", "motion"]
    assert bundle.model.frame.fps == 10.0
    assert bundle.model.streams[1].input.options["scale"] > 0
    assert bundle.model.training.seed == 3
    assert bundle.model.training.frames == 36 * (CLIPS - 2)
    assert bundle.alarm is not None
    parity = bundle.arrays("parity/motion.npz")
    assert parity["patches"].shape == (64, 3, 28, 28)


def test_the_run_directory_holds_what_made_it(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    record = json.loads((out / "run.json").read_text())
    assert record["finished"] is True
    assert record["seed"] == 3
    assert record["preset"]["training"]["joint"]["epochs"] == 2
    assert record["split"]["kind"] == "clips"
    assert {"python", "numpy", "torch"} <= set(record["versions"])
    assert record["seconds"] > 0
    assert record["bundle"] == load_bundle(out / "bundle").digest
    for stream in ("appearance", "motion"):
        lines = (out / "streams" / stream / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["stage"] for line in lines] == [
            "pretrain",
            "mixture",
            "joint",
            "joint",
        ]
    assert not (out / "patches").exists()


def test_progress_goes_to_standard_error(finished: tuple[Path, Result]) -> None:
    _, result = finished
    for words in ("3 clips train", "measured scale", "motion joint 2/2", "effective components"):
        assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_finished_run_is_refused_without_resume(
    finished: tuple[Path, Result], dataset: Path, recipe: Path
) -> None:
    result = call(dataset, finished[0], recipe)
    assert isinstance(result.exception, UsageError)
    assert "--resume" in str(result.exception.mend)


def test_resuming_a_finished_run_gives_its_bundle(
    finished: tuple[Path, Result], dataset: Path, recipe: Path
) -> None:
    out, first = finished
    digest = load_bundle(out / "bundle").digest
    again = call(
        dataset, out, recipe, "--seed", "3", "--set", "training.joint.epochs=2", "--resume"
    )
    assert again.stdout == first.stdout
    assert "finished" in again.stderr
    assert load_bundle(out / "bundle").digest == digest


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda _: None, InputMissingError),
        (lambda root: root.mkdir(), InputMissingError),
        (lambda root: write_clip(root / "normal" / "one", MemoryClip(length=1)), VigilError),
        (lambda root: write_clip(root / "normal" / "one", MemoryClip(length=40)), DataError),
        (
            lambda root: [
                write_clip(root / "normal" / f"{i}", MemoryClip(length=10, speed=0))
                for i in range(4)
            ],
            DataError,
        ),
    ],
    ids=["missing", "empty", "one frame", "too short", "no motion"],
)
def test_bad_footage_is_an_error_and_no_traceback(
    tmp_path: Path, recipe: Path, make: object, error: type[VigilError]
) -> None:
    make(tmp_path / "data")
    result = call(tmp_path / "data", tmp_path / "out", recipe)
    assert isinstance(result.exception, error)
    assert result.exception.mend or result.exception.where


def test_a_setting_that_is_no_setting_is_named(tmp_path: Path, recipe: Path) -> None:
    result = call(tmp_path, tmp_path / "out", recipe, "--set", "training.epochs=3")
    assert isinstance(result.exception, VigilError)
    assert "training.epochs" in result.exception.what
    assert not (tmp_path / "out").exists()


def test_help_names_presets_and_the_way_to_several_processes() -> None:
    text = CliRunner().invoke(vigil, ["train", "--help"]).stdout
    named = " ".join(text.split()).replace("- ", "-")  # wherever the lines are broken
    for name in (*preset_names(), *families()):
        assert name in named
    assert "torchrun" in text


def test_the_picture_of_a_clip_is_what_was_drawn(dataset: Path) -> None:
    picture = cv2.imread(str(dataset / "normal" / "clip0" / "000.png"))
    np.testing.assert_array_equal(picture, MemoryClip(length=1, seed=0).frames[0].bgr)
