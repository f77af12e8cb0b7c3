"""`vigil train` from clips to bundle; the order of the work, and nothing of how it is done."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from engines.bundle import Bundle, load_bundle
from engines.model_spec import TrainingRecord
from trainer.assemble import assemble_bundle, versions
from trainer.build_context import Build
from trainer.build_streams import build_streams
from trainer.clip_split import ClipSplit, count_frames, split_clips
from trainer.datasets.clip import Dataset
from trainer.distributed import Ranks
from trainer.measure import Measured, measure_options
from trainer.patch_streams import PatchStreams
from trainer.preset import Preset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.recipe_check import check_recipe
from trainer.run_directory import RunDirectory, open_run
from trainer.shared_work import SharedWork


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
        shared: Folder of what runs on the same data set share: window features, patches, trained
            encoders; None: each run has its own.
    """

    dataset: Dataset
    preset: Preset
    out: Path
    resume: bool
    command: str
    threads: int
    keep_patches: bool = False
    shared: Path | None = None

    @property
    def shared_work(self) -> SharedWork | None:
        """What lies in `shared`."""
        return None if self.shared is None else SharedWork(self.shared)


def run_training(
    request: TrainingRequest, ranks: Ranks, progress: TrainingProgress | None = None
) -> Bundle | None:
    """Train every stream of the preset and assemble the bundle.

    Returns:
        The bundle in `out/bundle`, on rank 0; None on the others.

    Raises:
        VigilError: What the steps raise: a recipe that cannot be, too little footage, nothing that
            moves, a folder that cannot be written, a loss that is no number.
    """
    progress = progress or SilentTraining()
    began = time.monotonic()
    check_recipe(request.preset)
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
    trained = _patch_streams(request, run, preset, split, measured, progress).train(ranks)
    if not ranks.first:
        return None
    build = Build(
        preset=preset,
        split=split,
        run=run,
        threads=request.threads,
        device=ranks.device,
        progress=progress,
        cache=request.shared,
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
        answers=None if request.shared_work is None else request.shared_work.answers,
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
    _patch_streams(request, run, preset, split, measured, progress).collect()
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


def _patch_streams(
    request: TrainingRequest,
    run: RunDirectory,
    preset: Preset,
    split: ClipSplit,
    measured: Measured,
    progress: TrainingProgress,
) -> PatchStreams:
    return PatchStreams(run, preset, split, measured, request.shared_work, progress)


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
