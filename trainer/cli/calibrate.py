"""`vigil calibrate`: a threshold for a false-alarm budget, or INT8 networks, from footage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import cv2

from calibration.activation_ranges import RANGE_METHODS, RangeMethod
from calibration.alarm_rule import AlarmRule
from calibration.parity import RANK_PATCHES
from edge.pipeline import Pipeline
from engines.bundle import load_bundle, replace_alarm
from engines.manifest import SIGNATURE_NAME
from engines.model_spec import AlarmSpec
from trainer.cli import options
from trainer.datasets.layouts import open_normal
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.evaluation.report_facts import duration, rate
from trainer.quantise_bundle import PATCHES, QuantisedStream, quantise_bundle
from trainer.recalibrate import HOURS_PER_DAY, recalibrate


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--normal",
    "--footage",
    "normal",
    type=click.Path(path_type=Path),
    required=True,
    help="Footage in which nothing unusual happens: a data set (its training part), a folder of "
    "clips, or one clip. Use footage that the training has not seen.",
)
@options.fps
@click.option(
    "--false-alarms-per-day",
    type=click.FloatRange(min=0, min_open=True),
    help="Budget: alarms a day that you accept when nothing unusual happens.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Make INT8 networks instead of a threshold; here the training's own footage is right.",
)
@click.option(
    "--ranges",
    type=click.Choice(RANGE_METHODS),
    default=RANGE_METHODS[0],
    show_default=True,
    help="With --int8: how the ranges of activations are chosen.",
)
@click.option(
    "--patches",
    type=click.IntRange(min=2 * RANK_PATCHES),
    default=PATCHES,
    show_default=True,
    help="With --int8: patches of each stream, half for the ranges and half for the verdict.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the bound that the footage proves.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, options.MOST_SEED),
    default=0,
    show_default=True,
    help="Of the bootstrap interval, or of the sample of patches.",
)
@options.running_threads
@click.option("--dry-run", is_flag=True, help="Compute and print; leave the bundle as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def calibrate(
    *,
    bundle: Path,
    normal: Path,
    fps: float | None,
    false_alarms_per_day: float | None,
    int8: bool,
    ranges: RangeMethod,
    patches: int,
    confidence: float,
    seed: int,
    threads: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set the alarm threshold of BUNDLE for a budget of false alarms, or give it INT8 networks.

    Scores the normal footage as the device would, counts alarm events (not frames), and takes the
    lowest threshold that keeps the budget with the given confidence. About 72 hours of footage are
    needed to prove one false alarm a day; with less, the threshold is extrapolated and says so.
    Only the threshold changes; networks and statistics stay as they are.

    With --int8 the threshold stays, and each network gets an INT8 twin for TensorRT and OpenVINO:
    ranges from moving cells of the footage, and as few layers left in FP32 as the energies need to
    keep their order (rank correlation 0.99 on cells that had no part in the ranges).
    """
    if int8 == (false_alarms_per_day is not None):
        raise click.UsageError("Give one of --false-alarms-per-day and --int8.")
    if threads:
        cv2.setNumThreads(threads)
    loaded = load_bundle(bundle)
    signed = (bundle / SIGNATURE_NAME).exists()
    if false_alarms_per_day is None:
        with ConsoleProgress() as progress:
            streams = quantise_bundle(
                loaded,
                open_normal(normal, fps=fps),
                patches=patches,
                method=ranges,
                seed=seed,
                threads=threads,
                write=not dry_run,
                progress=progress,
            )
        _tell_int8(streams, bundle, written=not dry_run, as_json=as_json)
        _tell_unsigned(bundle, was_signed=signed and not dry_run)
        return
    clips = open_normal(normal, fps=fps)
    with Pipeline(loaded, threads=threads) as pipeline, ConsoleProgress() as progress:
        alarm = recalibrate(
            pipeline,
            clips,
            rule=loaded.alarm or AlarmRule(threshold=0.0),
            false_alarms_per_day=false_alarms_per_day,
            confidence=confidence,
            seed=seed,
            progress=progress,
        )
    if not dry_run:
        replace_alarm(loaded, alarm)
    if as_json:
        click.echo(json.dumps(_json_values(alarm, loaded.alarm, written=not dry_run), indent=2))
    for line in _lines(alarm, loaded.alarm, bundle, written=not dry_run):
        click.echo(line, err=as_json)
    _tell_unsigned(bundle, was_signed=signed and not dry_run)


def _tell_unsigned(bundle: Path, *, was_signed: bool) -> None:
    if was_signed:
        click.echo(
            "the signature was of the bundle as it was, and is gone: sign it again with "
            f"vigil bundle sign {bundle}",
            err=True,
        )


def _tell_int8(
    streams: tuple[QuantisedStream, ...], bundle: Path, *, written: bool, as_json: bool
) -> None:
    if as_json:
        values = {
            stream.name: {
                "bytes": stream.sizes,
                "layers": stream.result.layers,
                "fp32_layers": stream.result.skipped,
                "parity": stream.result.report.to_json(),
            }
            for stream in streams
        }
        click.echo(json.dumps({"written": written, "streams": values}, indent=2))
    for stream in streams:
        result = stream.result
        kept = f"{len(result.skipped)} of {result.layers} layers stay in FP32"
        sizes = ", ".join(f"{p} {size / 1e6:.2f} MB" for p, size in stream.sizes.items())
        click.echo(f"{stream.name:<10} {result.report}", err=as_json)
        click.echo(f"{'':<10} {kept}; {sizes}", err=as_json)
    click.echo(f"written to {bundle}" if written else "not written (--dry-run)", err=as_json)


def _json_values(alarm: AlarmSpec, old: AlarmSpec | None, *, written: bool) -> dict[str, Any]:
    return {
        "written": written,
        "old_threshold": None if old is None else old.threshold,
        "false_alarms_per_day": alarm.budget_per_hour * HOURS_PER_DAY,
        "proven_per_day": alarm.proven_per_hour * HOURS_PER_DAY,
        **alarm.model_dump(mode="json"),
    }


def _lines(alarm: AlarmSpec, old: AlarmSpec | None, bundle: Path, *, written: bool) -> list[str]:
    per_day = HOURS_PER_DAY * alarm.proven_per_hour
    level = f"{100 * alarm.confidence:g} %"
    lines = [
        f"footage    {duration(alarm.hours)} of normal video, {alarm.source}",
        f"seen       {alarm.events_seen} alarm events in it at the new threshold",
        f"budget     {alarm.budget_per_hour * HOURS_PER_DAY:g} false alarms a day",
        f"proven     at most {rate(per_day)} a day, with {level} confidence",
    ]
    if alarm.extrapolated and alarm.interval is not None:
        low, high = alarm.interval
        lines.append(
            f"note       the footage is too short to prove the budget: threshold extrapolated, "
            f"{level} interval {low:.3f} to {high:.3f}"
        )
    before = "none" if old is None else f"{old.threshold:.4f}"
    lines.append(f"threshold  {alarm.threshold:.4f} (before: {before})")
    lines.append(f"written to {bundle}" if written else "not written (--dry-run)")
    return lines
