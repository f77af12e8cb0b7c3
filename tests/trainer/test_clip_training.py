"""What a training of whole clips changes: weights, the memory, the rate; and what it leaves."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import ConfigError
from trainer.checkpoint import TrainingState, load_state
from trainer.clip_models import ClipModel, build_clip_model
from trainer.distributed import single
from trainer.models.mnad import Mnad
from trainer.models.top_heavy import TopHeavy
from trainer.patch_store import PatchStore, PatchWriter
from trainer.preset import Preset, load_preset
from trainer.preset_sections import StagePreset
from trainer.progress import SilentTraining
from trainer.train_clip_stream import open_clip_model
from trainer.training_loop import CHECKPOINT_NAME, StreamTask, run_stage

SIDE, CHANNELS = 32, 6


def preset(encoder: str = "mnad", **more: Any) -> Preset:
    frames = 5 if encoder == "mnad" else 6
    stream = {
        "name": "clip",
        "kind": "clip",
        "encoder": encoder,
        "patch": SIDE,
        "options": {"frames": frames, "grey": True},
        "weight": 1.0,
    }
    return Preset.model_validate(
        {
            "name": "tiny",
            "streams": [stream],
            "training": {"batch": 4, "learning_rate": 2e-3, "schedule": "cosine"},
            "mnad": {"widths": [4, 5, 6, 7], "items": 3},
            "top_heavy": {"widths": [4, 4, 4, 4]},
            **more,
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> PatchStore:
    """A bright square that walks two pixels a frame."""
    clips = np.full((24, SIDE, SIDE, CHANNELS), 60, np.uint8)
    for n, clip in enumerate(clips):
        for t in range(CHANNELS):
            clip[n % 20 : n % 20 + 8, 2 * t : 2 * t + 8, t] = 220
    with PatchWriter(tmp_path / "store", patch=SIDE, channels=CHANNELS) as writer:
        writer.write(np.arange(24), clips)
        writer.finish({})
    return PatchStore(tmp_path / "store")


def task(
    built: ClipModel, store: PatchStore, recipe: Preset, folder: Path
) -> StreamTask[torch.nn.Module]:
    return StreamTask(
        name="clip",
        model=built.model,
        learning=built.learning,
        fit=store,
        held_out=store,
        settings=recipe.training,
        seed=0,
        folder=folder,
        ranks=single("cpu"),
        progress=SilentTraining(),
    )


def cut(store: PatchStore, channels: int, folder: Path) -> PatchStore:
    clips = store.read(np.arange(store.count))[..., :channels]
    with PatchWriter(folder, patch=SIDE, channels=channels) as writer:
        writer.write(np.arange(len(clips)), clips)
        writer.finish({})
    return PatchStore(folder)


def test_a_store_keeps_any_number_of_channels(store: PatchStore) -> None:
    assert store.channels == CHANNELS
    assert store.read(np.array([3])).shape == (1, SIDE, SIDE, CHANNELS)
    whole = np.load(store.folder / "patches.npy")
    assert whole.shape == (24, SIDE, SIDE, CHANNELS)


def test_training_lowers_the_loss_and_writes_the_memory(store: PatchStore, tmp_path: Path) -> None:
    recipe = preset()
    built = build_clip_model(recipe, recipe.streams[0], seed=0)
    assert isinstance(built.model, Mnad)
    before = built.model.memory.items.clone()
    state = TrainingState(stage="train")
    clips = cut(store, 5, tmp_path / "five")
    run_stage(
        task(built, clips, recipe, tmp_path), "train", StagePreset(epochs=5, patience=5), state
    )
    losses = [record["held_out"]["loss"] for record in state.history]
    assert losses[-1] < 0.7 * losses[0]
    assert not torch.equal(built.model.memory.items, before)
    np.testing.assert_allclose(built.model.memory.items.norm(dim=1), 1.0, atol=1e-5)
    kept = built.model.memory.items.clone()
    built.learning.examine(built.model, "train", clips, limit=8, seed=0, ranks=single("cpu"))
    assert torch.equal(built.model.memory.items, kept)


def test_the_rate_falls_along_a_cosine(
    store: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = preset("top_heavy")
    built = build_clip_model(recipe, recipe.streams[0], seed=0)
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam, *arguments: Any, **more: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **more)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    run_stage(
        task(built, store, recipe, tmp_path),
        "train",
        StagePreset(epochs=4, patience=4),
        TrainingState(stage="train"),
    )
    expected = [2e-3 * 0.5 * (1 + math.cos(math.pi * n / 4)) for n in range(4)]
    np.testing.assert_allclose(rates[::6], expected, rtol=1e-9)


@pytest.mark.parametrize("scheme", ["plain", "joint", "distil"])
def test_the_loss_of_each_scheme(store: PatchStore, scheme: str) -> None:
    recipe = preset("top_heavy", top_heavy={"widths": [4, 4, 4, 4], "scheme": scheme})
    built = build_clip_model(recipe, recipe.streams[0], seed=0)
    assert isinstance(built.model, TopHeavy)
    objective = built.learning.objective(built.model, "train").eval()
    clips = torch.from_numpy(store.read(np.arange(3))).permute(0, 3, 1, 2) / 255.0
    with torch.no_grad():
        found = objective(clips, clips.new_zeros(3, 0)).sum(1)
        terms = built.model(clips)
    product = terms.spatial * (1 + terms.temporal)
    torch.testing.assert_close(
        found, product if scheme == "joint" else terms.spatial + terms.temporal
    )
    assert built.options == ({"square": True} if scheme == "distil" else {})
    assert built.weights == ((-1, 1) if scheme == "distil" else (0, 1))


def test_a_score_shares_its_parts_as_the_preset_says() -> None:
    by_error = preset("mnad", mnad={"streaming_error_weight": 0.75, "error_weight": 0.5})
    by_time = preset("top_heavy", top_heavy={"widths": [4, 4, 4, 4], "temporal_weight": 0.75})
    found = [build_clip_model(one, one.streams[0], seed=0).weights for one in (by_error, by_time)]
    assert found == [(0.75, 0.25), (0.25, 0.75)]  # error and distance; spatial and temporal


def test_shipped_presets_are_of_the_size_they_say() -> None:
    sizes = {}
    for name in ("mnad", "mnad-paper", "top-heavy", "top-heavy-whole"):
        recipe = load_preset(name)
        built = build_clip_model(recipe, recipe.streams[0], seed=0)
        sizes[name] = sum(p.numel() for p in built.model.parameters())
    assert sizes["mnad-paper"] == pytest.approx(15.65e6, rel=1e-3)
    assert sizes["top-heavy-whole"] == 371_137
    assert sizes["mnad"] < sizes["mnad-paper"] / 50
    assert sizes["top-heavy"] < sizes["top-heavy-whole"] / 3


@pytest.mark.parametrize(
    ("encoder", "options", "wrong"),
    [
        ("top_heavy", {"frames": 5, "grey": True}, "even number"),
        ("top_heavy", {"frames": 6}, "grey"),
        ("mnad", {"frames": 3, "grey": True}, "one frame"),
    ],
)
def test_numbers_that_do_not_go_together_are_named(
    encoder: str, options: dict[str, Any], wrong: str
) -> None:
    recipe = preset(encoder, mnad={"variant": "reconstruction"})
    stream = recipe.streams[0].model_copy(update={"options": options})
    with pytest.raises(ConfigError, match=wrong):
        open_clip_model(recipe, stream, seed=0)


class _StopAfter(SilentTraining):
    """A kill right after an epoch was saved."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def say(self, text: str) -> None:
        del text
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(
    store: PatchStore, tmp_path: Path
) -> None:
    recipe, clips = preset(), cut(store, 5, tmp_path / "five")
    length = StagePreset(epochs=4, patience=4)

    def train(folder: Path, stop: int | None = None) -> dict[str, torch.Tensor]:
        built = build_clip_model(recipe, recipe.streams[0], seed=0)
        state = load_state(folder / CHECKPOINT_NAME) or TrainingState(stage="train")
        work = task(built, clips, recipe, folder)
        if stop is not None:
            work = dataclasses.replace(work, progress=_StopAfter(stop))
        run_stage(work, "train", length, state)
        assert len(state.history) == 4
        return built.model.state_dict()

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", stop=2)
    again = train(tmp_path / "stopped")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
