"""`vigil evaluate`: figures of a bundle on the test part of a data set, as table, JSON and HTML."""

from __future__ import annotations

from pathlib import Path

import click
import cv2

from edge.pipeline import Pipeline
from engines.bundle import load_bundle
from trainer.cli import options
from trainer.cli.outputs import Outputs, output_options
from trainer.datasets.layouts import open_dataset
from trainer.evaluation.clip_progress import ConsoleProgress
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.report_html import html_from_evaluation
from trainer.evaluation.report_json import json_from_evaluation
from trainer.evaluation.report_table import print_evaluation


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options.dataset(words="Data set; its test part is scored.")
@options.layout
@options.fps
@output_options("json", "html")
@options.running_threads
@options.backend
@click.option(
    "--baseline/--no-baseline",
    default=True,
    show_default=True,
    help="Also run the speed baseline, which learns nothing with a network.",
)
def evaluate(
    *,
    bundle: Path,
    root: Path,
    layout: str | None,
    fps: float | None,
    threads: int,
    backend: str,
    baseline: bool,
    outputs: Outputs,
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
    dataset = open_dataset(root, layout=layout, fps=fps)
    with ConsoleProgress() as progress:
        result = evaluate_bundle(
            loaded,
            dataset,
            threads=threads,
            baseline=baseline,
            open_pipeline=lambda one: Pipeline(one, backend=backend, threads=threads),
            progress=progress,
        )
    outputs.write(
        lambda console: print_evaluation(result, console),
        {
            "json": lambda: json_from_evaluation(result),
            "html": lambda: html_from_evaluation(result),
        },
    )
