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

from engines.atomic import write_text
from engines.bundle import load_bundle
from trainer.datasets.layouts import layout_names, open_dataset
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.evaluation.precisions import PrecisionRow, compare_precisions


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the data set; its test part is scored.",
)
@click.option("--layout", type=click.Choice(layout_names()), help="Default: recognised.")
@click.option("--fps", type=float, help="Frames per second, where folders do not say.")
@click.option("--json", "json_file", help="Write the figures to this file; - for standard output.")
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Threads of networks and pictures; 0 lets the libraries choose.",
)
def precisions(
    *,
    bundle: Path,
    folder: Path,
    layout: str | None,
    fps: float | None,
    json_file: str | None,
    threads: int,
) -> None:
    """Score the test clips with BUNDLE in FP32, FP16 and INT8, as far as it holds them.

    Prints frame and pixel AUC and EER in each precision, and how well each keeps the order of the
    energies of FP32. INT8 is made by `vigil calibrate --int8`.
    """
    if threads:
        cv2.setNumThreads(threads)
    loaded = load_bundle(bundle)
    dataset = open_dataset(folder, layout=layout, fps=fps)
    rows = compare_precisions(loaded, dataset, threads=threads, progress=ConsoleProgress)
    found = {
        "bundle": loaded.model.name,
        "bundle_digest": loaded.digest,
        "dataset": dataset.name,
        "rows": [row.to_json() for row in rows],
    }
    text = json.dumps(found, indent=1) + "\n"
    to_stdout = json_file == "-"
    _print(rows, Console(stderr=to_stdout))
    if to_stdout:
        click.echo(text, nl=False)
    elif json_file is not None:
        write_text(Path(json_file), text)
        click.echo(f"figures       {json_file}", err=True)


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
