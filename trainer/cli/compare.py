"""`vigil compare`: every detector on one data set, in one table; goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import click

from trainer.ablation.detectors import detectors_plan
from trainer.ablation.table import build_table
from trainer.cli import options
from trainer.cli.outputs import Outputs, output_options
from trainer.cli.plan_run import PlanRun, as_error, run_plan, show_table
from trainer.datasets.layouts import open_dataset
from trainer.distributed import DeviceChoice


@click.command(short_help="Train and evaluate every detector on a data set; print one table.")
@options.dataset()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the comparison, new or begun.  [default: compare_ and the data set's folder]",
)
@click.option(
    "--seeds",
    callback=options.read_seeds,
    default="0",
    show_default=True,
    metavar="0,1,2",
    help="Every detector is trained with each.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Make INT8 networks of each new row too, from the training part, for their size.",
)
@options.plan_options
@output_options("json", "html", "markdown")
def compare(
    *,
    root: Path,
    out: Path | None,
    seeds: tuple[int, ...],
    int8: bool,
    only: tuple[str, ...],
    layout: str | None,
    fps: float | None,
    threads: int,
    device: DeviceChoice,
    keep_bundles: bool,
    outputs: Outputs,
) -> None:
    """Train and evaluate the presets of every detector, and the speed baseline, side by side.

    Figures are of the streaming protocol; `by clip` is the frame AUC with scores normalised by
    clip, as many published figures are, `paper's protocol` the whole of it where a paper states one
    that can be followed (MNAD), and `published` what the authors report for this data set.
    Sizes are of the networks' files in FP32, FP16 and, with --int8, INT8, from which engines are
    built. Times are of this machine. What is finished is kept in OUT, so that the same command
    goes on after a kill; a row that fails is shown as such and the others go on.
    """
    dataset = open_dataset(root, layout=layout, fps=fps)
    plan = detectors_plan(dataset.name)
    out = out or Path(f"compare_{root.resolve().name}")
    run = PlanRun(root, out, seeds, only, layout, fps, threads, device, keep_bundles, int8)
    study, failures = run_plan(plan, dataset, run)
    table = build_table(plan, study, seeds)
    show_table(table, outputs)
    if failures:
        raise as_error(failures, out)
