"""`vigil ablate`: an ablation table from one command, which goes on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from engines.errors import InputMissingError, UsageError
from trainer.ablation.plan import choose_rows, load_plan, plan_names
from trainer.ablation.recipe import check_rows
from trainer.ablation.study import Failure, read_study
from trainer.ablation.table import build_table
from trainer.cli import options
from trainer.cli.outputs import Outputs, output_options
from trainer.cli.plan_run import PlanRun, as_error, run_plan, show_table
from trainer.datasets.layouts import open_dataset
from trainer.distributed import DeviceChoice

DEFAULT_PLAN = "method"


@click.command(short_help="Train and evaluate variants of a recipe; print the ablation table.")
@options.dataset(required=False, words=f"{options.TEST_SET[:-1]}; not needed with --table-only.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the ablation."
)
@click.option(
    "--plan",
    "plan_name",
    help=f"Plan: {', '.join(plan_names())}, or the path of a .yaml file.  [default: "
    f"{DEFAULT_PLAN}, or the one that --out was begun with]",
)
@click.option(
    "--seeds",
    callback=options.read_seeds,
    metavar="0,1,2",
    help="Every row is run with each.  [default: 0; with --table-only those that are there]",
)
@options.plan_options
@click.option("--table-only", is_flag=True, help="Run nothing; show what is there.")
@output_options("json", "html", "markdown")
def ablate(
    *,
    root: Path | None,
    out: Path,
    plan_name: str | None,
    seeds: tuple[int, ...] | None,
    only: tuple[str, ...],
    layout: str | None,
    fps: float | None,
    threads: int,
    device: DeviceChoice,
    keep_bundles: bool,
    table_only: bool,
    outputs: Outputs,
) -> None:
    """Train and evaluate every row of a plan with every seed, and print the table.

    What is finished is kept in OUT and not run again while recipe, data set and package versions
    are the same; the same command goes on after a kill and loses at most an epoch. Rows that come
    to the same recipe are run once. A row that fails is shown as such, the others go on, and the
    exit code is then that of the first failure.
    """
    failures: Sequence[Failure] = ()
    if table_only:
        study = read_study(out)
        plan = load_plan(plan_name or study.record.plan)
        seeds = seeds or study.seeds() or (0,)
    else:
        if root is None:
            raise UsageError("no data set is given", mend="add --dataset DIR, or --table-only")
        seeds = seeds or (0,)
        plan = load_plan(plan_name or _begun_with(out) or DEFAULT_PLAN)
        choose_rows(plan.plan, only)
        check_rows(plan, plan.plan.rows)
        dataset = open_dataset(root, layout=layout, fps=fps)
        run = PlanRun(root, out, seeds, only, layout, fps, threads, device, keep_bundles)
        study, failures = run_plan(plan, dataset, run)
    table = build_table(plan, study, seeds)
    show_table(table, outputs)
    if failures:
        raise as_error(failures, out)


def _begun_with(out: Path) -> str | None:
    try:
        return read_study(out).record.plan
    except InputMissingError:
        return None
