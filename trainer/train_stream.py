"""One stream from patches to a proven network file: the steps of the training, in order.

1. pre-train encoder, F5 and decoder as an auto-encoder;
2. EM for a diagonal Gaussian mixture on the latent means;
3. sigma_x^2 from the held-out residual, F6 started narrow;
4. joint training of Eq. (14);
5. freeze: drop components that hold nothing, export, compare.

After each epoch everything is on disk; a call on the same folder goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from trainer.checkpoint import TrainingState, copy_weights, load_state
from trainer.diagnostics import examine, to_unit_range
from trainer.distributed import Ranks
from trainer.em import EmResult, Vectors, fit_mixture
from trainer.export import (
    ExportedEncoder,
    RebuildingEncoder,
    deployed_parameters,
    export_network,
    latents,
)
from trainer.freeze import add_coordinate, freeze_mixture, responsibilities
from trainer.gmfc_learning import GmfcLearning
from trainer.models.gmfc_vae import GmfcVae
from trainer.models.mixture_prior import MixturePrior
from trainer.patch_store import PatchStore, decode_patches, spread
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.stream_parts import LearnedParts, StreamParts
from trainer.stream_training import StreamTraining
from trainer.training_loop import CHECKPOINT_NAME, StreamTask, run_stage, save

NETWORK_NAME = "encoder.onnx"
# sigma_x^2 never falls below this: a nearly perfect reconstruction would drown the KL part.
SMALLEST_SIGMA_X2 = 1e-4
# F6 starts with this part of the mean variance inside a component.
_NARROW = 0.1
_PARITY_PATCHES = 64
_PRUNING_PATCHES = 20_000
_BATCH = 500


@dataclass(frozen=True)
class TrainedStream:
    """A stream ready for a bundle, and the record of how it came about.

    Attributes:
        parts: What the bundle takes.
        model: The trained model, on its device.
        sigma_x2: Variance of a pixel given z that the joint stage used.
        history: One record for each epoch.
        max_error: Largest difference between ONNX Runtime and PyTorch.
        pruned: Components dropped at the end.
    """

    parts: StreamParts
    model: GmfcVae
    sigma_x2: float
    history: list[dict[str, Any]]
    max_error: float
    pruned: int


def train_stream(training: StreamTraining) -> TrainedStream | None:
    """Train one stream, or go on with it.

    Args:
        training: Patches, recipe, folder, processes. Held-out patches decide early stopping,
            sigma_x^2 and the choice of the mixture.

    Returns:
        The stream, on rank 0; None on the others.

    Raises:
        InternalError: The loss is no number any more, or the exported file differs from PyTorch.
        DataError: A checkpoint or patch store cannot be read.
        CannotCreateError: The folder cannot be written.
    """
    preset, ranks = training.preset, training.ranks
    state = load_state(training.folder / CHECKPOINT_NAME) or TrainingState(
        components=preset.model.components
    )
    model = build_model(
        preset, training.stream, components=state.components, seed=preset.seed, ranks=ranks
    )
    task = training.task(model, GmfcLearning())
    if state.stage == "pretrain":
        run_stage(task, "pretrain", preset.training.pretrain, state)
        _start_mixture(task, preset, state)
        state.next_stage("joint", copy_weights(task.model))
        save(task, state)
    if state.stage == "joint":
        run_stage(task, "joint", preset.training.joint, state)
        state.next_stage("done", copy_weights(task.model))
        save(task, state)
    assert state.model is not None
    task.model.load_state_dict(state.model)
    if not ranks.first:
        return None
    return _freeze(task, training, state)


def build_model(
    preset: Preset, stream: StreamPreset, *, components: int, seed: int, ranks: Ranks
) -> GmfcVae:
    """A model with random weights that depend on the seed and the stream's name alone."""
    with torch.random.fork_rng(devices=[]):
        name = int.from_bytes(stream.name.encode()[:4], "little")
        torch.manual_seed((seed * 0x1000003) ^ name)
        model = GmfcVae(
            filters=preset.model.filters,
            latent=preset.model.latent,
            components=components,
            patch=stream.patch,
            output=preset.model.output,
        )
    # Channels last is the order that CPU and GPU convolutions are fastest in.
    placed: GmfcVae = model.to(ranks.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub does not know this argument
    return placed


@torch.no_grad()
def encode(encoder: nn.Module, store: PatchStore, *, limit: int, device: torch.device) -> Vectors:
    """Latent vectors of at most `limit` patches, spread evenly: float64 (n, J)."""
    pieces = [
        encoder(to_unit_range(torch.from_numpy(patches), device)).double().cpu().numpy()
        for _, patches in store.ordered(batch=_BATCH, limit=limit)
    ]
    return np.concatenate(pieces)


def _start_mixture(task: StreamTask[GmfcVae], preset: Preset, state: TrainingState) -> None:
    """Steps 2 and 3: the prior, sigma_x^2 and F6 get their starting values."""
    task.progress.begin(f"{task.name}: mixture", total=1)
    held = examine(
        task.model,
        task.held_out,
        limit=preset.training.held_out_patches,
        seed=task.seed,
        ranks=task.ranks,
    )
    result = task.ranks.share(_fit_prior(task, preset) if task.ranks.first else None)
    assert result is not None
    mixture = result.mixture
    model, device = task.model, task.ranks.device
    components = len(mixture.weights)
    if components != state.components:
        model.prior = MixturePrior(components, preset.model.latent).to(device)
        state.components = components
    model.prior.assign(
        torch.from_numpy(mixture.weights).to(device),
        torch.from_numpy(mixture.means).to(device),
        torch.from_numpy(mixture.variances).to(device),
        preset.em.variance_floor,
    )
    wanted = preset.model.sigma_x2
    residual = max(SMALLEST_SIGMA_X2, held.squared_error)
    model.sigma_x2.fill_(task.ranks.share(residual) if wanted == "residual" else wanted)
    model.start_joint(_NARROW * float(mixture.weights @ mixture.variances.mean(1)))
    task.progress.end()
    state.history.append(_mixture_record(task, result))
    task.progress.say(
        f"{task.name} mixture: {components} components after {result.iterations} EM steps, "
        f"log-likelihood {result.fit_likelihood:.1f}, held out {result.held_out_likelihood:.1f}; "
        f"sigma_x^2 = {float(model.sigma_x2):.5f}"
    )


def _fit_prior(task: StreamTask[GmfcVae], preset: Preset) -> EmResult:
    device = task.ranks.device
    task.model.eval()
    return fit_mixture(
        encode(task.model.encoder, task.fit, limit=preset.em.patches, device=device),
        encode(task.model.encoder, task.held_out, limit=preset.em.patches, device=device),
        components=preset.model.components,
        restarts=preset.em.restarts,
        iterations=preset.em.iterations,
        tolerance=preset.em.tolerance,
        variance_floor=preset.em.variance_floor,
        seed=task.seed,
    )


def _mixture_record(task: StreamTask[GmfcVae], result: EmResult) -> dict[str, Any]:
    weights = result.mixture.weights
    occupied = weights[weights > 0]
    return {
        "stream": task.name,
        "stage": "mixture",
        "iterations": result.iterations,
        "restart": result.restart,
        "fit_likelihood": result.fit_likelihood,
        "held_out_likelihood": result.held_out_likelihood,
        "effective_components": float(np.exp(-(occupied * np.log(occupied)).sum())),
        "sigma_x2": float(task.model.sigma_x2),
    }


def _freeze(
    task: StreamTask[GmfcVae], training: StreamTraining, state: TrainingState
) -> TrainedStream:
    """Step 5, on rank 0."""
    preset, stream = training.preset, training.stream
    model = task.model.eval()
    z = encode(model.encoder, task.fit, limit=_PRUNING_PATCHES, device=task.ranks.device)
    gamma = responsibilities(model.prior, z)
    mixture, kept = freeze_mixture(model.prior, gamma, prune=preset.training.prune)
    deployed: nn.Module = ExportedEncoder(model.encoder)
    if preset.model.reconstruction:
        deployed = RebuildingEncoder(model.encoder, model.decoder)
        extended = encode(deployed, task.fit, limit=_PRUNING_PATCHES, device=task.ranks.device)
        mixture = add_coordinate(mixture, gamma[:, kept], extended[:, -1])
    chosen = spread(task.held_out.count, _PARITY_PATCHES)
    patches = decode_patches(task.held_out.read(chosen))
    network = task.folder / NETWORK_NAME
    error = export_network(deployed, network, side=stream.patch, samples=patches)
    pruned = gamma.shape[1] - len(kept)
    task.progress.say(
        f"{task.name}: {len(kept)} components kept, {pruned} dropped; "
        f"ONNX Runtime and PyTorch differ by {error:.1e} at most"
    )
    parts = StreamParts(
        name=stream.name,
        input=training.spec,
        weight=stream.weight,
        learned=LearnedParts(
            network=network,
            parameters=deployed_parameters(deployed),
            arrays=mixture,
            parity_patches=patches,
            parity_latents=latents(deployed, patches),
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )
    return TrainedStream(
        parts=parts,
        model=model,
        sigma_x2=float(model.sigma_x2),
        history=state.history,
        max_error=error,
        pruned=pruned,
    )
