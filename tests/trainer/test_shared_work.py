"""What runs share: nothing is done twice, and nothing comes out otherwise than alone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.clips import MemoryClip

from edge.pipeline import Pipeline
from edge.runner import StreamRunner
from engines.bundle import load_bundle
from engines.model_spec import Precision
from trainer import training_loop
from trainer.checkpoint import TrainingState
from trainer.datasets.clip import Dataset
from trainer.distributed import single
from trainer.preset import Preset
from trainer.remembered_answers import RememberedAnswers
from trainer.run_training import TrainingRequest, run_training
from trainer.shared_work import SharedWork, offer_training
from trainer.training_loop import CHECKPOINT_NAME

RECIPE = {
    "name": "tiny",
    "frame": {"width": 168, "height": 112},
    "streams": [
        {"name": "appearance", "kind": "appearance", "weight": 0.5},
        {"name": "motion", "kind": "motion", "weight": 0.5, "options": {"window": 5}},
    ],
    "model": {"filters": [4, 4, 8, 6], "latent": 4, "components": 3},
    "training": {
        "patches": 300,
        "held_out_patches": 80,
        "batch": 20,
        "pretrain": {"epochs": 1},
        "joint": {"epochs": 1},
    },
    "em": {"restarts": 1, "patches": 300},
}


class Doubling:
    """A network that doubles, slowly, and counts."""

    name = "doubling"
    precision: Precision = "fp32"

    def __init__(self) -> None:
        self.calls = 0

    def load(self, file: Path) -> None:
        """Nothing to read."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls += 1
        time.sleep(0.05)
        return batch.reshape(len(batch), -1) * np.float32(2)

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    clips = tuple(MemoryClip(name=f"c{seed}", length=24, seed=seed, speed=2) for seed in range(5))
    return Dataset(
        name="yard", root=tmp_path, layout="memory", train=clips, test=(), label_source="none"
    )


def train(dataset: Dataset, out: Path, shared: Path | None, **changes: object) -> Path:
    preset = Preset.model_validate({**RECIPE, **changes})
    request = TrainingRequest(dataset, preset, out, False, "test", 1, shared=shared)
    bundle = run_training(request, single("cpu"))
    assert bundle is not None
    return bundle.root


def files(bundle: Path) -> dict[str, bytes]:
    folders = ("networks", "heads", "parity", "statistics")
    found = (path for folder in folders for path in sorted((bundle / folder).iterdir()))
    return {str(path.relative_to(bundle)): path.read_bytes() for path in found}


def test_a_stream_is_trained_once_for_all_rows_that_differ_later(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    epoch = training_loop._StageTrainer.epoch

    def counted(self: training_loop._StageTrainer, number: int) -> object:
        stages.append(self._task.name)
        return epoch(self, number)

    monkeypatch.setattr(training_loop._StageTrainer, "epoch", counted)
    cache = tmp_path / "cache"
    alone = train(dataset, tmp_path / "alone", None)
    first = train(dataset, tmp_path / "first", cache)
    assert len(stages) == 8
    again = train(dataset, tmp_path / "again", cache, fusion={"mode": "z"})
    assert len(stages) == 8
    assert files(alone) == files(first) == files(again)
    assert (tmp_path / "again/streams/motion/history.jsonl").read_text()

    slower = [RECIPE["streams"][0], {**RECIPE["streams"][1], "options": {"window": 3}}]
    train(dataset, tmp_path / "motion", cache, streams=slower)
    assert stages[8:] == ["motion", "motion"]
    train(dataset, tmp_path / "model", cache, model={**RECIPE["model"], "components": 2})
    assert len(stages) == 14


def test_a_training_that_was_cut_short_is_not_offered(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    TrainingState(stage="joint").save(folder / CHECKPOINT_NAME)
    offer_training(folder, tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


def test_answers_come_back_bit_for_bit_and_their_cost_is_known(
    dataset: Dataset, tmp_path: Path
) -> None:
    bundle_root = train(dataset, tmp_path / "run", None)
    bundle = load_bundle(bundle_root)
    batch = np.random.default_rng(0).random((3, 2, 4, 4), np.float32)
    stream = bundle.model.streams[0]

    def ask(network: Doubling, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        answers = RememberedAnswers(tmp_path / "answers")
        result = answers.wrap(bundle)(stream, network).infer(batch)
        return result, answers.saved_s

    network = Doubling()
    first, cost = ask(network, batch)
    assert cost <= 0  # the book-keeping, which is taken off
    second, saved = ask(network, batch)
    assert network.calls == 1
    assert saved > 0.02
    np.testing.assert_array_equal(first, second)
    ask(network, batch[:2])
    ask(network, batch + 1)
    assert network.calls == 3
    network.precision = "fp16"
    ask(network, batch)
    assert network.calls == 4

    for path in (tmp_path / "answers").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:40])
    network.precision = "fp32"
    third, _ = ask(network, batch)
    np.testing.assert_array_equal(first, third)
    assert network.calls == 5

    work = SharedWork(tmp_path / "work")
    clip = dataset.train[0]
    scores = []
    for _ in range(2):
        with Pipeline(bundle, wrap=work.answers.wrap(bundle)) as pipeline, clip.open() as source:
            assert all(isinstance(runner, StreamRunner) for runner in pipeline._runners)
            view = pipeline.new_view()
            scores.append([pipeline.score(view, frame).score for frame in source])
    assert scores[0] == scores[1]
