"""`vigil train` from clips to bundle; the order of the work, and nothing of how it is done."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from engines.bundle import Bundle, load_bundle
from engines.model_spec import TrainingRecord
from trainer.assemble import StreamParts, assemble_bundle, versions
from trainer.clip_split import ClipSplit, split_clips
from trainer.collect import collect_patches, measure_scale
from trainer.datasets.clip import Dataset
from trainer.distributed import Ranks
from trainer.patch_store import PatchStore
from trainer.preset import Preset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.run_directory import RunDirectory, open_run
from trainer.train_stream import TrainedStream, train_stream

Scales = dict[str, float | None]


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
    """

    dataset: Dataset
    preset: Preset
    out: Path
    resume: bool
    command: str
    threads: int
    keep_patches: bool = False


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
    run, scales = prepared
    if run.finished:
        return load_bundle(run.bundle) if ranks.first else None
    streams = _train_streams(run, preset, scales, ranks, progress)
    if not ranks.first:
        return None
    earlier = float(run.record["seconds"])  # sittings of a resumed run
    seconds = earlier + time.monotonic() - began
    run.note(seconds=seconds)
    bundle = assemble_bundle(
        run.bundle,
        preset=preset,
        streams=_parts(preset, streams),
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
) -> tuple[RunDirectory, Scales]:
    """On rank 0: the run directory, the scales and the patch stores."""
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
    scales = _scales(run, preset, split, progress)
    inputs = {s.name: s.train_input(scales[s.name]) for s in preset.learned_streams}
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
        run.note(**{f"{name}_frames": stores[preset.learned_streams[0].name].notes["frames"]})
        for store in stores.values():
            store.close()
    return run, scales


def _scales(
    run: RunDirectory, preset: Preset, split: ClipSplit, progress: TrainingProgress
) -> Scales:
    """Input scale of each stream; measured once a run, None where the input has none."""
    known: Scales = run.record.get("scales", {})
    for stream in preset.learned_streams:
        if stream.name in known:
            continue
        known[stream.name] = None
        if stream.wants_scale:
            known[stream.name] = measure_scale(
                split.fit,
                stream.test_input(),
                frame=preset.frame,
                gate=preset.gate,
                seed=preset.seed,
                progress=progress,
            )
            progress.say(f"{stream.name}: input scale {known[stream.name]:.4g}")
    run.note(scales=known)
    return known


def _train_streams(
    run: RunDirectory,
    preset: Preset,
    scales: Scales,
    ranks: Ranks,
    progress: TrainingProgress,
) -> list[TrainedStream]:
    """Every stream in turn; the list is empty on ranks other than 0."""
    trained = []
    for stream in preset.learned_streams:
        with (
            PatchStore(run.patches("fit") / stream.name) as fit,
            PatchStore(run.patches("held_out") / stream.name) as held_out,
        ):
            result = train_stream(
                fit,
                held_out,
                preset=preset,
                stream=stream,
                scale=scales[stream.name],
                folder=run.stream(stream.name),
                seed=preset.seed,
                ranks=ranks,
                progress=progress,
            )
        if result is not None:
            trained.append(result)
    return trained


def _parts(preset: Preset, trained: list[TrainedStream]) -> list[StreamParts]:
    """All streams in the preset's order, with and without a network."""
    learned = {stream.parts.name: stream.parts for stream in trained}
    return [
        learned.get(stream.name)
        or StreamParts(
            name=stream.name,
            input=stream.test_input(),
            weight=stream.weight,
            learned=None,
            pooling=stream.statistics,
        )
        for stream in preset.streams
    ]


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
