"""`vigil evaluate`: figures of a bundle on the test part of a data set, as table, JSON and HTML."""

from __future__ import annotations

from pathlib import Path

import click
import cv2
from rich.console import Console

from edge.pipeline import Pipeline
from engines.atomic import write_text
from engines.backends.choose import AUTO
from engines.bundle import load_bundle
from trainer.datasets.layouts import layout_names, open_dataset
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.report_html import html_from_evaluation
from trainer.evaluation.report_json import json_from_evaluation
from trainer.evaluation.report_table import print_evaluation

STANDARD_OUTPUT = "-"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the data set; its test part is scored.",
)
@click.option(
    "--layout",
    type=click.Choice(layout_names()),
    help="Layout of the data set; recognised by its folders unless given.",
)
@click.option("--fps", type=float, help="Frames per second, where folders do not say.")
@click.option("--json", "json_file", help="Write the figures to this file; - for standard output.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write the report here.")
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Threads of networks and pictures; 0 lets the libraries choose.",
)
@click.option(
    "--backend",
    default=AUTO,
    show_default=True,
    help="Of the networks; NAME, NAME/PRECISION or auto/PRECISION, such as auto/int8.",
)
@click.option(
    "--baseline/--no-baseline",
    default=True,
    show_default=True,
    help="Also run the speed baseline, which learns nothing with a network.",
)
def evaluate(
    *,
    bundle: Path,
    folder: Path,
    layout: str | None,
    fps: float | None,
    json_file: str | None,
    html_file: Path | None,
    threads: int,
    backend: str,
    baseline: bool,
) -> None:
    """Measure BUNDLE on the test clips of a data set.

    Every clip is streamed once through the same pipeline as on a device: causal, every frame
    scored, nothing normalised by clip. Prints frame and pixel AUC and EER of the bundle, of each
    stream alone and of the speed baseline, then events and false alarms at the bundle's threshold,
    and speed. The HTML report is one file with curves, timelines and pictures; it asks for nothing
    outside itself.
    """
    if threads:
        cv2.setNumThreads(threads)
    loaded = load_bundle(bundle)
    dataset = open_dataset(folder, layout=layout, fps=fps)
    with ConsoleProgress() as progress:
        result = evaluate_bundle(
            loaded,
            dataset,
            threads=threads,
            baseline=baseline,
            open_pipeline=lambda one: Pipeline(one, backend=backend, threads=threads),
            progress=progress,
        )
    to_stdout = json_file == STANDARD_OUTPUT
    print_evaluation(result, Console(stderr=to_stdout))
    if to_stdout:
        click.echo(json_from_evaluation(result), nl=False)
    elif json_file is not None:
        write_text(Path(json_file), json_from_evaluation(result))
        click.echo(f"figures       {json_file}", err=True)
    if html_file is not None:
        write_text(html_file, html_from_evaluation(result))
        click.echo(f"report        {html_file}", err=True)
