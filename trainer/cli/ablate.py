"""`vigil ablate`: an ablation table from one command, which goes on where it stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import torch
from rich.console import Console

from engines.atomic import write_text
from engines.errors import DataError, InputMissingError, UsageError, VigilError
from trainer.ablation.plan import PlanFile, choose_rows, load_plan, plan_names
from trainer.ablation.recipe import check_rows
from trainer.ablation.render import json_from_table, markdown_from_table, print_table
from trainer.ablation.render_html import html_from_table
from trainer.ablation.run_rows import AblationRequest, Watch, run_rows
from trainer.ablation.study import Failure, Study, StudyRecord, open_study, read_study
from trainer.ablation.table import AblationTable, build_table
from trainer.datasets.layouts import layout_names, open_dataset
from trainer.distributed import DeviceChoice, single
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.progress import ConsoleTraining

STANDARD_OUTPUT = "-"
DEFAULT_PLAN = "method"
# One class for each documented exit code, so that the code of a failed row is that of the command.
_BY_CODE = {kind.exit_code: kind for kind in VigilError.__subclasses__()}


def _seeds(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """`0,1,2` as (0, 1, 2)."""
    del context, parameter
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**31 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of seeds such as 0,1,2")
    return tuple(dict.fromkeys(int(part) for part in parts))


@click.command(short_help="Train and evaluate variants of a recipe; print the ablation table.")
@click.option(
    "--dataset",
    "root",
    type=click.Path(path_type=Path),
    help="Data set with a training and a test part; not needed with --table-only.",
)
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
    callback=_seeds,
    metavar="0,1,2",
    help="Every row is run with each.  [default: 0; with --table-only those that are there]",
)
@click.option("--only", multiple=True, metavar="ROW", help="Run this row; may be repeated.")
@click.option("--layout", type=click.Choice(layout_names()), help="Default: recognised.")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), help="Frame rate of picture folders."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="CPU threads of training and evaluation.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Of the training; auto takes the GPU if there is one.",
)
@click.option("--keep-bundles", is_flag=True, help="Leave every row's bundle in its run directory.")
@click.option("--table-only", is_flag=True, help="Run nothing; show what is there.")
@click.option("--json", "json_file", help="Write the table to this file; - for standard output.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page here.")
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write Markdown here."
)
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
    json_file: str | None,
    html_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Train and evaluate every row of a plan with every seed, and print the table.

    What is finished is kept in OUT and not run again while recipe, data set and package versions
    are the same; the same command goes on after a kill and loses at most an epoch. Rows that come
    to the same recipe are run once. A row that fails is shown as such, the others go on, and the
    exit code is then that of the first failure.
    """
    if table_only:
        study = read_study(out)
        plan = load_plan(plan_name or study.record.plan)
        failures: Sequence[Failure] = ()
        seeds = seeds or study.seeds() or (0,)
    else:
        seeds = seeds or (0,)
        plan, study, failures = _run(
            root, out, plan_name, seeds, only, layout, fps, threads, device, keep_bundles
        )
    table = build_table(plan, study, seeds)
    _show(table, json_file, html_file, markdown_file)
    if failures:
        raise _as_error(failures, out)


def _run(
    root: Path | None,
    out: Path,
    plan_name: str | None,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    layout: str | None,
    fps: float | None,
    threads: int,
    device: DeviceChoice,
    keep_bundles: bool,
) -> tuple[PlanFile, Study, Sequence[Failure]]:
    if root is None:
        raise UsageError("no data set is given", mend="add --dataset DIR, or --table-only")
    plan = load_plan(plan_name or _begun_with(out) or DEFAULT_PLAN)
    rows = choose_rows(plan.plan, only)
    check_rows(plan, plan.plan.rows)
    dataset = open_dataset(root, layout=layout, fps=fps)
    dataset.require_train()
    dataset.require_test()
    study = open_study(
        out,
        StudyRecord(
            dataset=str(root.resolve()),
            layout=layout,
            fps=fps,
            plan=plan.reference,
        ),
    )
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    request = AblationRequest(
        plan=plan,
        rows=rows,
        seeds=seeds,
        dataset=dataset,
        study=study,
        threads=threads,
        command=shlex.join(["vigil", *sys.argv[1:]]),
        keep_bundles=keep_bundles,
    )
    progress = ConsoleTraining()
    try:
        failures = run_rows(request, single(device), Watch(progress, ConsoleProgress))
    except KeyboardInterrupt:
        progress.end()
        progress.say("stopped; the same command goes on from here")
        raise
    return plan, study, failures


def _begun_with(out: Path) -> str | None:
    try:
        return read_study(out).record.plan
    except InputMissingError:
        return None


def _show(
    table: AblationTable, json_file: str | None, html_file: Path | None, markdown_file: Path | None
) -> None:
    to_stdout = json_file == STANDARD_OUTPUT
    print_table(table, Console(stderr=to_stdout))
    if to_stdout:
        click.echo(json_from_table(table), nl=False)
    elif json_file is not None:
        write_text(Path(json_file), json_from_table(table))
        click.echo(f"figures       {json_file}", err=True)
    if html_file is not None:
        write_text(html_file, html_from_table(table))
        click.echo(f"page          {html_file}", err=True)
    if markdown_file is not None:
        write_text(markdown_file, markdown_from_table(table))
        click.echo(f"markdown      {markdown_file}", err=True)


def _as_error(failures: Sequence[Failure], out: Path) -> VigilError:
    first = failures[0]
    names = ", ".join(dict.fromkeys(one.row for one in failures))
    return _BY_CODE.get(first.exit_code, DataError)(
        f"{len(failures)} run(s) failed, of the row(s) {names}; the first: {first.what}",
        where=first.where or str(out),
        mend=first.mend or "mend what is named; the same command tries the failed rows again",
    )
