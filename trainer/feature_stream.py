"""A stream on features that are not trained on the scene: encoder, bank, mixture.

1. the encoder as an ONNX file: the pretrained backbone, or a student that imitates it;
2. features of the windows of all clips but those of the threshold, clip by clip;
3. the number of components by held-out likelihood, so that little footage gives a small mixture;
4. mixtures that each have not seen some of the clips: energies of those clips are the statistics,
   and how far the stream can be trusted is measured on them;
5. the mixture of all those clips, for the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.errors import DataError
from engines.model_spec import InputSpec
from trainer.backbone import WindowBackbone, export_backbone
from trainer.clip_split import ClipSplit
from trainer.collect import observe_clip
from trainer.cross_fit import cross_fit
from trainer.export import export_network, latents
from trainer.feature_bank import collect_features
from trainer.feature_points import sample_points
from trainer.footage_points import by_clip, point_groups, samples_of
from trainer.mixture_choice import ComponentChoice, choose_components, fitter
from trainer.normal_clip import NormalClip
from trainer.open_encoder import open_encoder
from trainer.patch_store import spread
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.progress import TrainingProgress
from trainer.run_directory import RunDirectory
from trainer.stream_parts import LearnedParts, StreamParts, Unseen
from trainer.teaching import collect_lessons
from trainer.train_student import train_student

NETWORK_NAME = "encoder.onnx"
TEACHER_NAME = "teacher.onnx"
# Enough for a rank correlation to be judged; a golden window of 96 px is 9 kB in the bundle.
_PARITY_WINDOWS = 64
_ITEMS_A_LOOK = 8
_LOOKS_BETWEEN = 10


@dataclass(frozen=True)
class Encoder:
    """The network, its ONNX file, its weights' number, and its golden inputs and outputs."""

    module: nn.Module
    network: Path
    parameters: int
    patches: NDArray[np.float32]
    latents: NDArray[np.float32]


def build_feature_stream(
    stream: StreamPreset,
    spec: InputSpec,
    *,
    preset: Preset,
    split: ClipSplit,
    run: RunDirectory,
    threads: int,
    device: torch.device,
    progress: TrainingProgress,
    cache: Path | None = None,
) -> StreamParts:
    """All steps; what is on disk of an earlier sitting is taken from there.

    Args:
        stream: The stream.
        spec: Its input, measured options included.
        preset: The recipe.
        split: Footage; the threshold's part is not touched.
        run: Where the work is kept.
        threads: CPU threads.
        device: Where a student is trained, and where windows are looked at.
        progress: Told about the steps.
        cache: Folder of features that runs on the same data set share; None: the run's own.

    Raises:
        UnavailableError: The pretrained weights are not installed.
        DataError: Nothing moves in the footage.
        CannotCreateError: The run directory cannot be written.
    """
    settings = preset.features
    encoder = make_encoder(stream, spec, preset, split, run, threads, device, progress)
    clips = [*split.fit, *split.held_out]
    looker = open_encoder(encoder.module, encoder.network, device=device, threads=threads)
    bank = collect_features(
        clips,
        spec,
        looker,
        network=encoder.network,
        frame=preset.frame,
        gate=preset.gate,
        frames=settings.frames,
        mirrored=settings.mirrored,
        folder=run.patches / "features" / stream.name,
        progress=progress,
        cache=cache,
    )
    looker.close()
    filled = [one for one in bank if len(one.rows)]
    groups, step = point_groups(filled)
    progress.say(
        f"{stream.name}: {sum(len(one.rows) for one in filled)} windows of {len(clips)} clips"
    )
    fit = fitter(settings.covariance, seed=preset.seed)
    choice = choose_components(
        [np.concatenate(groups[n :: settings.folds]) for n in range(len(groups))[: settings.folds]],
        fit,
        largest=settings.components,
        seed=preset.seed,
        rounds=1,
        max_points=settings.samples,
    )
    crossed = cross_fit(
        groups,
        lambda points, _: fit(points, choice.components),
        folds=settings.folds,
        seed=preset.seed,
        max_points=settings.samples,
    )
    points = sample_points(groups, max_points=settings.samples, seed=preset.seed)
    mixture = fit(points, choice.components)
    run.note(**{f"{stream.name}_components": _table(choice)})
    progress.say(
        f"{stream.name}: {choice.components} components, chosen by held-out likelihood from "
        f"{', '.join(str(k) for k in sorted(choice.held_out))}"
    )
    return StreamParts(
        name=stream.name,
        input=spec,
        weight=stream.weight,
        learned=LearnedParts(
            network=encoder.network,
            parameters=encoder.parameters,
            arrays=mixture.arrays(),
            parity_patches=encoder.patches,
            parity_latents=encoder.latents,
            unseen=by_clip(clips, bank, filled, crossed.unseen, lambda one: Unseen(one.arrays())),
            samples=samples_of(filled, crossed.energies, step),
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


def make_encoder(
    stream: StreamPreset,
    spec: InputSpec,
    preset: Preset,
    split: ClipSplit,
    run: RunDirectory,
    threads: int,
    device: torch.device,
    progress: TrainingProgress,
) -> Encoder:
    """The backbone as it is, or a student that has learned from it; see `build_feature_stream`."""
    folder = run.stream(stream.name)
    network = folder / NETWORK_NAME
    patches = some_items(split.held_out, spec, preset, _PARITY_WINDOWS)
    layers = preset.features.layers
    if stream.encoder == "backbone":
        parameters, _ = export_backbone(layers, network, side=stream.patch)
        backbone = WindowBackbone(layers)
        return Encoder(backbone, network, parameters, patches, latents(backbone, patches))
    network_of_teacher = folder / TEACHER_NAME
    export_backbone(layers, network_of_teacher, side=preset.student.side)
    teacher = open_encoder(
        WindowBackbone(layers), network_of_teacher, device=device, threads=threads
    )
    lessons = collect_lessons(
        split.fit,
        spec,
        teacher,
        preset=preset,
        folder=run.patches / "lessons" / stream.name,
        progress=progress,
    )
    teacher.close()
    student = train_student(
        lessons,
        settings=preset.student,
        seed=preset.seed,
        folder=folder,
        device=device,
        progress=progress,
    )
    export_network(student, network, side=stream.patch, channels=patches.shape[1], samples=patches)
    parameters = sum(weight.numel() for weight in student.parameters())
    return Encoder(student, network, parameters, patches, latents(student, patches))


def some_items(
    clips: Sequence[NormalClip], spec: InputSpec, preset: Preset, count: int
) -> NDArray[np.float32]:
    """At most `count` items to compare backends on: some of each of a few moments.

    Raises:
        DataError: No clip has any: nothing moves.
    """
    chosen: list[NDArray[np.float32]] = []
    wanted = count
    for clip in clips:
        walk = observe_clip(clip, {"": spec}, frame=preset.frame, gate=preset.gate)
        looks = (cells[""] for _, cells, _ in walk if cells[""].items)
        for found in islice(looks, 0, None, _LOOKS_BETWEEN):
            chosen.append(found.gather(spread(found.items, min(_ITEMS_A_LOOK, wanted))))
            wanted -= len(chosen[-1])
            if not wanted:
                return np.concatenate(chosen)
    if not chosen:
        raise DataError("nothing moves in the held-out clips", mend="give footage with movement")
    return np.concatenate(chosen)


def _table(choice: ComponentChoice) -> dict[str, float | int | dict[str, float]]:
    held_out = {str(k): round(value, 3) for k, value in sorted(choice.held_out.items())}
    return {"components": choice.components, "held_out_log_likelihood": held_out}
