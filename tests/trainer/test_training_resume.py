"""A training that is killed goes on as if nothing had happened; the same seed gives the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_stream
from support.tiny_stream import tiny_preset, train_tiny, write_stores

from engines.errors import DataError
from trainer.checkpoint import load_state
from trainer.models.gmfc_vae import GmfcVae
from trainer.train_stream import TrainedStream
from trainer.training_loop import CHECKPOINT_NAME, HISTORY_NAME

REPOSITORY = Path(__file__).parents[2]
TIMES = ("seconds", "patches_per_second")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    write_stores(folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedStream:
    result = train_tiny(stores, tmp_path_factory.mktemp("whole"))
    assert result is not None
    return result


def assert_same(first: TrainedStream, second: TrainedStream) -> None:
    weights, others = first.model.state_dict(), second.model.state_dict()
    assert weights.keys() == others.keys()
    for name in weights:
        assert torch.equal(weights[name], others[name]), name
    assert without_times(first.history) == without_times(second.history)
    assert (first.parts.learned.parity_latents == second.parts.learned.parity_latents).all()
    assert first.parts.learned.network.read_bytes() == second.parts.learned.network.read_bytes()


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in history]


def kill_in_the_middle_of_an_epoch(stores: Path, out: Path, records: int) -> None:
    """Start the training as a program and SIGKILL it once so many records are on disk."""
    process = subprocess.Popen(
        [sys.executable, tiny_stream.__file__, str(stores), str(out)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        stderr=subprocess.PIPE,
    )
    history = out / HISTORY_NAME
    try:
        for _ in range(6000):
            if history.is_file() and history.read_text().count("\n") >= records:
                break
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.01)
        time.sleep(0.05)  # a part of the next epoch
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL


def test_killed_twice_and_resumed_equals_uninterrupted(
    stores: Path, uninterrupted: TrainedStream, tmp_path: Path
) -> None:
    kill_in_the_middle_of_an_epoch(stores, tmp_path, records=1)
    state = load_state(tmp_path / CHECKPOINT_NAME)
    assert state is not None
    assert state.stage != "done"
    kill_in_the_middle_of_an_epoch(stores, tmp_path, records=5)
    state = load_state(tmp_path / CHECKPOINT_NAME)
    assert state is not None
    assert state.stage == "joint"
    resumed = train_tiny(stores, tmp_path)
    assert resumed is not None
    assert_same(resumed, uninterrupted)
    lines = (tmp_path / HISTORY_NAME).read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [
        *["pretrain"] * 3,
        "mixture",
        *["joint"] * 3,
    ]


def test_a_finished_training_is_not_done_again(
    stores: Path, uninterrupted: TrainedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a step was trained")

    monkeypatch.setattr(GmfcVae, "terms", refuse)
    again = train_tiny(stores, uninterrupted.parts.learned.network.parent)
    assert again is not None
    assert_same(again, uninterrupted)


def test_same_seed_same_weights(stores: Path, uninterrupted: TrainedStream, tmp_path: Path) -> None:
    again = train_tiny(stores, tmp_path)
    assert again is not None
    assert_same(again, uninterrupted)


def test_another_seed_other_weights(stores: Path, tmp_path: Path) -> None:
    short = tiny_preset(pretrain={"epochs": 1}, joint={"epochs": 0})
    first, second = (
        train_tiny(stores, tmp_path / str(seed), seed=seed, preset=short) for seed in (0, 1)
    )
    assert first is not None
    assert second is not None
    assert not torch.equal(first.model.prior.means, second.model.prior.means)


def test_a_damaged_checkpoint_is_named(stores: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="checkpoint cannot be read") as caught:
        train_tiny(stores, tmp_path)
    assert CHECKPOINT_NAME in str(caught.value.where)
