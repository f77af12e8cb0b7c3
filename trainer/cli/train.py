"""`vigil train`: learn what is normal and write a bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import cv2

from engines.bundle import Bundle
from engines.errors import UsageError
from trainer.cli import options
from trainer.cli.command_line import command_for_records
from trainer.datasets.layouts import open_dataset
from trainer.distributed import DeviceChoice, open_ranks
from trainer.preset import Preset, families, load_preset, preset_names, with_own_features
from trainer.progress import ConsoleTraining, SilentTraining
from trainer.run_training import TrainingRequest, run_training

WITH_A_GPU, WITHOUT = "accurate", "fast"
GMFC_VAE = "gmfc-vae"


@click.command(
    short_help="Learn what is normal from footage and write a bundle.",
    epilog="Several GPUs or processes on one machine: torchrun --nproc-per-node 2 --no-python "
    "vigil train --dataset DIR --out DIR",
)
@options.dataset(words="UCSD, Avenue or ShanghaiTech folder, or one with normal/ in it.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run directory, new or empty."
)
@click.option(
    "--detector",
    type=click.Choice(list(families())),
    help=f"Kind of detector: a family of presets.  [default: {GMFC_VAE}, or the preset's]",
)
@click.option(
    "--preset",
    "name",
    help=f"Recipe: {', '.join(preset_names())}, or the path of a .yaml file. "
    "Default: the one with the detector's name; of gmfc-vae accurate where there is a GPU to train "
    "on, else fast.",
)
@click.option("--seed", type=click.IntRange(0, options.MOST_SEED), help="Default: the preset's.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one number of the recipe, e.g. training.patches=20000; may be repeated.",
)
@click.option(
    "--features",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.onnx",
    help="Features of your own network (patches in [0, 1] to vectors) for the log-density streams; "
    "how it wants its pictures: --set extractor.mean=[...] --set extractor.std=[...].",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out where it stopped.")
@options.layout
@options.fps
@options.training_threads
@options.device
@click.option("--keep-patches", is_flag=True, help="Leave the training patches in --out.")
def train(
    root: Path,
    out: Path,
    detector: str | None,
    name: str | None,
    seed: int | None,
    settings: tuple[str, ...],
    features: Path | None,
    resume: bool,
    layout: str | None,
    fps: float | None,
    threads: int,
    device: DeviceChoice,
    keep_patches: bool,
) -> None:
    """Train on the normal footage of a data set and write OUT/bundle.

    No labels are used. Part of the clips is held out for the statistics of every cell, another part
    for the threshold. Progress goes to standard error; the path of the bundle, last, to standard
    output.

    After a kill, the same command with --resume loses at most the running epoch and ends with the
    same weights as an uninterrupted run. The same seed gives the same weights on the same machine
    with the same number of threads.
    """
    if seed is not None:
        settings = (*settings, f"seed={seed}")
    if features is not None:
        settings = (*settings, f"extractor.file={json.dumps(str(features.resolve()))}")
    cv2.setNumThreads(threads)
    with open_ranks(threads=threads, device=device) as ranks:
        name = name or _default_preset(detector, gpu=ranks.device.type == "cuda")
        preset = load_preset(name, settings)
        _require_family(preset, detector)
        if features is not None:
            preset = with_own_features(preset)
        request = TrainingRequest(
            dataset=open_dataset(root, layout=layout, fps=fps),
            preset=preset,
            out=out,
            resume=resume,
            command=command_for_records(sys.argv[1:]),
            threads=threads,
            keep_patches=keep_patches,
        )
        progress = ConsoleTraining() if ranks.first else SilentTraining()
        try:
            bundle = run_training(request, ranks, progress)
        except KeyboardInterrupt:
            progress.end()
            progress.say("stopped; the same command with --resume goes on from the last epoch")
            raise
    if bundle is not None:
        _report(bundle)


def _default_preset(detector: str | None, *, gpu: bool) -> str:
    """The family's preset of its own name, else its first; two of gmfc-vae are made to choose."""
    if detector in (None, GMFC_VAE):
        return WITH_A_GPU if gpu else WITHOUT
    names = families()[detector]
    return detector if detector in names else names[0]


def _require_family(preset: Preset, detector: str | None) -> None:
    if detector is not None and preset.detector != detector:
        raise UsageError(
            f"preset {preset.name} is one of {preset.detector}, not of {detector}",
            where="--detector",
            mend=f"leave --detector out, or choose from: {', '.join(families()[detector])}",
        )


def _report(bundle: Bundle) -> None:
    if bundle.alarm is not None:
        state = "extrapolated" if bundle.alarm.extrapolated else "proven"
        click.echo(
            f"threshold {bundle.alarm.threshold:.3f} for {bundle.alarm.budget_per_hour:g} false "
            f"alarms per hour ({state}; {bundle.alarm.hours * 60:.1f} minutes of footage)",
            err=True,
        )
    click.echo(bundle.root)
