"""A stream that trains in seconds: as a function, and as a program that may be killed or launched.

python tests/support/tiny_stream.py STORES OUT [SEED]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from trainer.distributed import Ranks, open_ranks, single
from trainer.patch_store import PatchStore, PatchWriter, encode_patches
from trainer.preset import Preset
from trainer.stream_training import StreamTraining
from trainer.train_stream import TrainedStream, train_stream

SIDE = 8
SCALE = 3.5


def tiny_preset(**training: object) -> Preset:
    """One motion stream with a network of a few thousand weights."""
    return Preset.model_validate(
        {
            "name": "tiny",
            "streams": [{"name": "motion", "kind": "motion", "patch": SIDE, "weight": 1.0}],
            "model": {"filters": [4, 6, 8, 6], "latent": 4, "components": 3},
            "training": {
                "patches": 1500,
                "held_out_patches": 200,
                "batch": 20,
                "learning_rate": 2e-3,
                "pretrain": {"epochs": 3, "patience": 3},
                "joint": {"epochs": 3, "patience": 3},
                **training,
            },
            "em": {"restarts": 2, "iterations": 20, "patches": 1000},
        }
    )


def write_stores(folder: Path, *, count: int = 1500, held_out: int = 200, seed: int = 0) -> None:
    """Patches of three kinds: flat, a bar across, a bar down; each with brightness and noise."""
    for name, n, offset in (("fit", count, 0), ("held_out", held_out, 1)):
        rng = np.random.default_rng([seed, offset])
        patches = np.zeros((n, 3, SIDE, SIDE), np.float32)
        kinds = rng.integers(3, size=n)
        level = rng.uniform(0.3, 0.9, n)
        patches[kinds == 1, :, 3:5, :] = 1.0
        patches[kinds == 2, :, :, 3:5] = 1.0
        patches = patches * level[:, None, None, None] + 0.05
        patches += 0.03 * rng.normal(size=patches.shape)
        with PatchWriter(folder / name, patch=SIDE) as writer:
            writer.write(np.arange(n), encode_patches(patches.astype(np.float32)))
            writer.finish({})


def train_tiny(
    stores: Path,
    out: Path,
    *,
    seed: int = 0,
    preset: Preset | None = None,
    ranks: Ranks | None = None,
) -> TrainedStream | None:
    """Train, or go on with, the tiny stream on the stores that `write_stores` wrote."""
    torch.set_num_threads(1)
    preset = preset or tiny_preset()
    with PatchStore(stores / "fit") as fit, PatchStore(stores / "held_out") as held_out:
        return train_stream(
            StreamTraining(
                fit=fit,
                held_out=held_out,
                preset=preset.model_copy(update={"seed": seed}),
                stream=preset.streams[0],
                spec=preset.streams[0].test_input({"scale": SCALE}),
                folder=out,
                ranks=ranks or single("cpu"),
            )
        )


def main(arguments: list[str]) -> None:
    """Train as a program, alone or under torchrun."""
    stores, out = Path(arguments[0]), Path(arguments[1])
    seed = int(arguments[2]) if len(arguments) > 2 else 0
    with open_ranks(threads=1, device="cpu") as ranks:
        train_tiny(stores, out, seed=seed, ranks=ranks)


if __name__ == "__main__":
    main(sys.argv[1:])
