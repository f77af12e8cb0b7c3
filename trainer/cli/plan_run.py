"""What `vigil ablate` and `vigil compare` share: running a plan, and showing its table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from engines.errors import DataError, VigilError
from trainer.ablation.plan import PlanFile, choose_rows
from trainer.ablation.recipe import check_rows
from trainer.ablation.render import json_from_table, markdown_from_table, print_table
from trainer.ablation.render_html import html_from_table
from trainer.ablation.run_rows import AblationRequest, Watch, run_rows
from trainer.ablation.study import Failure, Study, StudyRecord, open_study
from trainer.ablation.table import AblationTable
from trainer.cli.command_line import command_for_records
from trainer.cli.outputs import Outputs
from trainer.datasets.clip import Dataset
from trainer.distributed import DeviceChoice, single
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.progress import ConsoleTraining

# One class for each documented exit code, so that the code of a failed row is that of the command.
_BY_CODE = {kind.exit_code: kind for kind in VigilError.__subclasses__()}


@dataclass(frozen=True)
class PlanRun:
    """What the command line says of a run.

    Attributes:
        root: Folder of the data set, as typed.
        out: Folder of the study.
        seeds: Each row is run with each.
        only: Names of rows; empty: all.
        layout: As given; None: recognised.
        fps: As given.
        threads: CPU threads.
        device: Of the training.
        keep_bundles: Leave every row's bundle in its run directory.
        int8: Make INT8 networks too, for their size.
    """

    root: Path
    out: Path
    seeds: tuple[int, ...]
    only: tuple[str, ...]
    layout: str | None
    fps: float | None
    threads: int
    device: DeviceChoice
    keep_bundles: bool
    int8: bool = False


def run_plan(plan: PlanFile, dataset: Dataset, run: PlanRun) -> tuple[Study, list[Failure]]:
    """Run what is not done of a plan; the study, and the pairs that failed now.

    Raises:
        VigilError: Rows that cannot be run, no training or test part, a folder of something else.
    """
    rows = choose_rows(plan.plan, run.only)
    check_rows(plan, plan.plan.rows)
    dataset.require_train()
    dataset.require_test()
    record = StudyRecord(
        dataset=str(run.root.resolve()), layout=run.layout, fps=run.fps, plan=plan.reference
    )
    study = open_study(run.out, record)
    torch.set_num_threads(run.threads)
    cv2.setNumThreads(run.threads)
    request = AblationRequest(
        plan=plan,
        rows=rows,
        seeds=run.seeds,
        dataset=dataset,
        study=study,
        threads=run.threads,
        command=command_for_records(sys.argv[1:]),
        keep_bundles=run.keep_bundles,
        int8=run.int8,
    )
    progress = ConsoleTraining()
    try:
        failures = run_rows(request, single(run.device), Watch(progress, ConsoleProgress))
    except KeyboardInterrupt:
        progress.end()
        progress.say("stopped; the same command goes on from here")
        raise
    return study, failures


def show_table(table: AblationTable, outputs: Outputs) -> None:
    """Print the table, and write it where it was asked for.

    Raises:
        CannotCreateError: A file cannot be written.
    """
    outputs.write(
        lambda console: print_table(table, console),
        {
            "json": lambda: json_from_table(table),
            "html": lambda: html_from_table(table),
            "markdown": lambda: markdown_from_table(table),
        },
    )


def as_error(failures: Sequence[Failure], out: Path) -> VigilError:
    """The error of a command in which rows failed: with the exit code of the first."""
    first = failures[0]
    names = ", ".join(dict.fromkeys(one.row for one in failures))
    return _BY_CODE.get(first.exit_code, DataError)(
        f"{len(failures)} run(s) failed, of the row(s) {names}; the first: {first.what}",
        where=first.where or str(out),
        mend=first.mend or "mend what is named; the same command tries the failed rows again",
    )
