"""`vigil precisions`: what FP16 and INT8 cost a bundle on the test part of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
from rich import box
from rich.console import Console
from rich.table import Table

from engines.bundle import load_bundle
from trainer.cli import options
from trainer.cli.outputs import Outputs, output_options
from trainer.datasets.layouts import open_dataset
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.evaluation.precisions import PrecisionRow, compare_precisions


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options.dataset(words="Data set; its test part is scored.")
@options.layout
@options.fps
@output_options("json")
@options.running_threads
def precisions(
    *,
    bundle: Path,
    root: Path,
    layout: str | None,
    fps: float | None,
    threads: int,
    outputs: Outputs,
) -> None:
    """Score the test clips with BUNDLE in FP32, FP16 and INT8, as far as it holds them.

    Prints frame and pixel AUC and EER in each precision, and how well each keeps the order of the
    energies of FP32. INT8 is made by `vigil calibrate --int8`.
    """
    if threads:
        cv2.setNumThreads(threads)
    loaded = load_bundle(bundle)
    dataset = open_dataset(root, layout=layout, fps=fps)
    rows = compare_precisions(loaded, dataset, threads=threads, progress=ConsoleProgress)
    found = {
        "bundle": loaded.model.name,
        "bundle_digest": loaded.digest,
        "dataset": dataset.name,
        "rows": [row.to_json() for row in rows],
    }
    outputs.write(
        lambda console: _print(rows, console), {"json": lambda: json.dumps(found, indent=1) + "\n"}
    )


def _print(rows: Sequence[PrecisionRow], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("precision", "frame AUC", "EER", "pixel AUC", "EER", "rank of energies", "ms"):
        table.add_column(title, justify="left" if title == "precision" else "right")
    for row in rows:
        figures = (row.frame_auc, row.frame_eer, row.pixel_auc, row.pixel_eer)
        ranks = ", ".join(f"{name} {value:.5f}" for name, value in (row.rank or {}).items())
        table.add_row(
            row.precision,
            *("-" if value is None else f"{100 * value:.2f}" for value in figures),
            ranks or "-",
            f"{row.ms_per_frame:.1f}",
        )
    console.print(table)
