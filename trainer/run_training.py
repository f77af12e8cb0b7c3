"""`vigil train` from clips to bundle; the order of the work, and nothing of how it is done."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engines.bundle import Bundle, load_bundle
from engines.model_spec import TrainingRecord
from trainer.assemble import assemble_bundle, versions
from trainer.build_context import Build
from trainer.build_streams import build_streams
from trainer.clip_split import ClipSplit, count_frames, split_clips
from trainer.collect import collect_patches
from trainer.datasets.clip import Dataset
from trainer.distributed import Ranks
from trainer.measure import measure_options
from trainer.patch_store import PatchStore
from trainer.preset import Preset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.run_directory import RunDirectory, open_run
from trainer.stream_parts import StreamParts
from trainer.train_clip_stream import train_clip_stream
from trainer.train_stream import train_stream

Measured = dict[str, dict[str, float]]
"""Options by stream name that were measured on the footage."""


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained.

    Attributes:
        dataset: Normal clips are its training part.
        preset: Recipe, with `seed` and settings applied.
        out: Run directory.
        resume: Go on with the run that is there.
        command: The command line, for the record.
        threads: CPU threads of this machine.
        keep_patches: Leave the patch stores in the run directory.
        feature_cache: Folder of window features that runs on the same data set share; None: each
            run has its own.
    """

    dataset: Dataset
    preset: Preset
    out: Path
    resume: bool
    command: str
    threads: int
    keep_patches: bool = False
    feature_cache: Path | None = None


def run_training(
    request: TrainingRequest, ranks: Ranks, progress: TrainingProgress | None = None
) -> Bundle | None:
    """Train every stream of the preset and assemble the bundle.

    Returns:
        The bundle in `out/bundle`, on rank 0; None on the others.

    Raises:
        VigilError: What the steps raise: too little footage, nothing that moves, a folder that
            cannot be written, a loss that is no number.
    """
    progress = progress or SilentTraining()
    began = time.monotonic()
    clips = request.dataset.require_train()
    rate = Counter(clip.fps for clip in clips).most_common(1)[0][0]
    preset = request.preset.with_footage_rate(rate)
    part = preset.calibration
    split = split_clips(clips, held_out=part.held_out, threshold=part.threshold, seed=preset.seed)
    prepared = ranks.share(
        _prepare(request, preset, split, ranks, progress) if ranks.first else None
    )
    assert prepared is not None
    run, measured = prepared
    if run.finished:
        return load_bundle(run.bundle) if ranks.first else None
    trained = _train_streams(run, preset, measured, ranks, progress)
    if not ranks.first:
        return None
    build = Build(
        preset=preset,
        split=split,
        run=run,
        threads=request.threads,
        device=ranks.device,
        progress=progress,
        cache=request.feature_cache,
        trained={parts.name: parts for parts in trained},
    )
    streams = build_streams(build, measured)
    earlier = float(run.record["seconds"])  # sittings of a resumed run
    seconds = earlier + time.monotonic() - began
    run.note(seconds=seconds)
    bundle = assemble_bundle(
        run.bundle,
        preset=preset,
        streams=streams,
        fit=split.fit,
        held_out=split.held_out,
        threshold=split.threshold,
        record=_record(request, preset, split, run, seconds),
        threads=request.threads,
        progress=progress.say,
    )
    if not request.keep_patches:
        run.drop_patches()
    seconds = earlier + time.monotonic() - began
    run.note(seconds=seconds, finished=True, bundle=bundle.digest)
    return bundle


def _prepare(
    request: TrainingRequest,
    preset: Preset,
    split: ClipSplit,
    ranks: Ranks,
    progress: TrainingProgress,
) -> tuple[RunDirectory, Measured]:
    """On rank 0: the run directory, what is measured, and the patch stores."""
    run = open_run(
        request.out,
        resume=request.resume,
        preset=preset,
        dataset=str(request.dataset.root.resolve()),
        seed=preset.seed,
        command=request.command,
        versions=versions(),
        layout=request.dataset.layout,
        notes=list(request.dataset.notes),
        split={"kind": split.kind, **split.names()},
        threads=request.threads,
        processes=ranks.world,
        device=_device_name(ranks.device),
    )
    if run.finished:
        progress.say("this run is finished; its bundle is taken as it is")
        return run, {}
    for note in request.dataset.notes:
        progress.say(note)
    progress.say(
        f"{len(split.fit)} {split.kind} train, {len(split.held_out)} are held out, "
        f"{len(split.threshold)} set the threshold"
    )
    run.note(fit_frames=sum(count_frames(clip) for clip in split.fit))
    measured = _measure(run, preset, split, progress)
    inputs = {s.name: s.train_input(measured[s.name]) for s in preset.patch_streams}
    if not inputs:
        return run, measured
    parts = [
        ("fit", split.fit, preset.training.patches),
        ("held_out", split.held_out, preset.training.held_out_patches),
    ]
    for name, clips, budget in parts:
        stores = collect_patches(
            clips,
            inputs,
            frame=preset.frame,
            gate=preset.gate,
            budget=budget,
            folder=run.patches(name),
            seed=preset.seed,
            title=f"patches ({name.replace('_', ' ')})",
            progress=progress,
        )
        counts = ", ".join(f"{store.count} {stream}" for stream, store in stores.items())
        progress.say(f"patches {name.replace('_', ' ')}: {counts}")
        for store in stores.values():
            store.close()
    return run, measured


def _measure(
    run: RunDirectory, preset: Preset, split: ClipSplit, progress: TrainingProgress
) -> Measured:
    """Options of the inputs that depend on the scene; measured once a run."""
    known: Measured = run.record.get("measured", {})
    for stream in preset.streams:
        if stream.name in known:
            continue
        known[stream.name] = measure_options(stream, split.fit, preset=preset, progress=progress)
        if known[stream.name]:
            found = ", ".join(f"{name} {value:.4g}" for name, value in known[stream.name].items())
            progress.say(f"{stream.name}: measured {found}")
    run.note(measured=known)
    return known


def _train_streams(
    run: RunDirectory,
    preset: Preset,
    measured: Measured,
    ranks: Ranks,
    progress: TrainingProgress,
) -> list[StreamParts]:
    """Every stream in turn; the list is empty on ranks other than 0."""
    trained = []
    for stream in preset.patch_streams:
        train = _train_mixture_stream if stream.encoder == "gmfc_vae" else train_clip_stream
        with (
            PatchStore(run.patches("fit") / stream.name) as fit,
            PatchStore(run.patches("held_out") / stream.name) as held_out,
        ):
            result = train(
                fit,
                held_out,
                preset=preset,
                stream=stream,
                spec=stream.test_input(measured[stream.name]),
                folder=run.stream(stream.name),
                seed=preset.seed,
                ranks=ranks,
                progress=progress,
            )
        if result is not None:
            trained.append(result)
    return trained


def _train_mixture_stream(
    fit: PatchStore, held_out: PatchStore, **settings: Any
) -> StreamParts | None:
    """`train_stream`, of whose record the parts alone go into a bundle."""
    trained = train_stream(fit, held_out, **settings)
    return None if trained is None else trained.parts


def _record(
    request: TrainingRequest,
    preset: Preset,
    split: ClipSplit,
    run: RunDirectory,
    seconds: float,
) -> TrainingRecord:
    return TrainingRecord(
        dataset=request.dataset.name,
        preset=preset.name,
        seed=preset.seed,
        command=request.command,
        versions=versions(),
        clips=len(split.fit),
        frames=int(run.record["fit_frames"]),
        seconds=round(seconds, 1),
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
