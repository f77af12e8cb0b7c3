"""One stream of whole clips, from stored clips to a proven network file.

1. train the model in one stage;
2. centre and spread of each of its maps over moving places of held-out clips;
3. export the newest frame's maps, compare.

After each epoch everything is on disk; a call on the same folder goes on from there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import max_pool2d

from engines.errors import ConfigError
from engines.model_spec import MapSpec
from trainer.checkpoint import TrainingState, copy_weights, load_state
from trainer.clip_models import ClipModel, ScoreMaps, build_clip_model
from trainer.diagnostics import to_unit_range
from trainer.export import deployed_parameters, export_network, latents
from trainer.patch_store import PatchStore, decode_patches, spread
from trainer.preset import Preset
from trainer.preset_sections import StagePreset, StreamPreset
from trainer.stream_parts import Arrays, LearnedParts, StreamParts
from trainer.stream_training import StreamTraining
from trainer.training_loop import CHECKPOINT_NAME, run_stage, save

NETWORK_NAME = "encoder.onnx"
# A clip is a few hundred kilobytes; its map has hundreds of places to compare.
_PARITY_CLIPS = 4
_BATCH = 8
# A spread is never below this: maps are in nepers, or squared distances of unit vectors.
_SMALLEST_SPREAD = 1e-3


def train_clip_stream(training: StreamTraining) -> StreamParts | None:
    """Train one stream, or go on with it.

    Several processes share a batch; batch norm then takes each one's part for itself.

    Args:
        training: Clips, recipe, folder, processes. Held-out clips decide early stopping, centre and
            spread of the maps.

    Returns:
        The stream, on rank 0; None on the others.

    Raises:
        ConfigError: Numbers of the preset that do not go together.
        InternalError: The loss is no number any more, or the exported file differs from PyTorch.
        DataError: A checkpoint or store cannot be read.
        CannotCreateError: The folder cannot be written.
    """
    preset, stream, ranks = training.preset, training.stream, training.ranks
    built = open_clip_model(preset, stream, seed=preset.seed)
    built.model.to(ranks.device)
    state = load_state(training.folder / CHECKPOINT_NAME) or TrainingState(stage="train")
    task = training.task(built.model, built.learning)
    if state.stage == "train":
        length = StagePreset(epochs=built.length.epochs, patience=built.length.patience)
        run_stage(task, "train", length, state)
        state.next_stage("done", copy_weights(task.model))
        save(task, state)
    assert state.model is not None
    built.model.load_state_dict(state.model)
    if not ranks.first:
        return None
    built.model.eval()
    held_out = training.held_out
    head = _measure_maps(built, held_out, preset, ranks.device)
    clips = decode_patches(held_out.read(spread(held_out.count, _PARITY_CLIPS)))
    clips = np.ascontiguousarray(clips[:, -built.frames * built.channels :])
    deployed = ScoreMaps(built.model)
    network = training.folder / NETWORK_NAME
    error = export_network(
        deployed, network, side=stream.patch, channels=clips.shape[1], samples=clips, sizes=(1, 2)
    )
    training.progress.say(
        f"{stream.name}: {deployed_parameters(deployed)} weights, {built.frames} frames a clip on "
        f"the device; ONNX Runtime and PyTorch differ by {error:.1e} at most"
    )
    golden = latents(deployed, clips)
    return StreamParts(
        name=stream.name,
        input=built.runtime_input(training.spec),
        weight=stream.weight,
        learned=LearnedParts(
            network=network,
            parameters=deployed_parameters(deployed),
            arrays=head,
            parity_patches=clips,
            parity_latents=golden,
            head="map",
            options=built.options,
            map=MapSpec(rows=golden.shape[2], columns=golden.shape[3]),
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


def open_clip_model(preset: Preset, stream: StreamPreset, *, seed: int) -> ClipModel:
    """`build_clip_model`, with what is wrong said as a mistake of the preset.

    Raises:
        ConfigError: Numbers of the preset that do not go together.
    """
    try:
        return build_clip_model(preset, stream, seed=seed)
    except ValueError as error:
        raise ConfigError(
            str(error),
            where=f"preset {preset.name}, stream {stream.name}",
            mend=f"make streams.{stream.name}.options fit the model, in the preset or with --set",
        ) from error


@torch.no_grad()
def _measure_maps(
    built: ClipModel, store: PatchStore, preset: Preset, device: torch.device
) -> Arrays:
    """Median and robust deviation of each map where something moves: centre, scale, weight."""
    limit = preset.training.held_out_patches
    every, moved = [], []
    for _, patches in store.ordered(batch=_BATCH, limit=limit):
        clips = to_unit_range(torch.from_numpy(patches), device)
        maps = built.model.score_maps(built.newest(clips))  # type: ignore[operator]  # nn.Module attributes are untyped
        every.append(np.moveaxis(maps.double().cpu().numpy(), 1, -1))
        moved.append(_moving(clips, built, preset.gate.threshold).cpu().numpy())
    moving: NDArray[np.bool_] = np.concatenate(moved)
    values: NDArray[np.float64] = np.concatenate(every)[moving if moving.any() else moving | True]
    centre = np.median(values, axis=0)
    spread_ = 1.4826 * np.median(np.abs(values - centre), axis=0)
    return {
        "centre": centre,
        "scale": np.maximum(spread_, _SMALLEST_SPREAD),
        "weight": np.asarray(built.weights),
    }


def _moving(clips: torch.Tensor, built: ClipModel, threshold: int) -> torch.Tensor:
    """Cells of the map in which the newest picture differs from the one before; bool N x r x c.

    All of them where a clip is a single picture.
    """
    channels = built.channels
    newest, before = clips[:, -channels:], clips[:, -2 * channels : -channels]
    alone = before.shape[1] != channels
    change = (newest - (0.0 if alone else before)).abs().mean(1, keepdim=True)
    return (max_pool2d(change, built.cell)[:, 0] > threshold / 255.0) | alone
