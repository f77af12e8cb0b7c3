"""`vigil survey`: shows whether a preset travels, on rendered places that differ."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

import click
import cv2
import torch

from engines.errors import InternalError, UsageError
from trainer.cli import options
from trainer.cli.command_line import command_for_records
from trainer.cli.outputs import Outputs, output_options
from trainer.distributed import single
from trainer.preset import load_preset, preset_names
from trainer.progress import ConsoleTraining
from trainer.scenes import CONDITIONS, KINDS
from trainer.survey.places import VIEWS, Place, grid_places, load_places, place_list_names
from trainer.survey.render import (
    html_from_survey,
    json_from_survey,
    markdown_from_survey,
    print_survey,
)
from trainer.survey.run_places import SurveyRequest, run_survey

ALL = "all"
USUAL = Place()

Value = TypeVar("Value")


@click.command(
    short_help="Train and measure a preset at rendered places that differ.",
    epilog=f"Conditions: {', '.join(CONDITIONS)}. Kinds: {', '.join(KINDS)}.",
)
@click.option(
    "--preset",
    "name",
    required=True,
    help=f"Recipe: {', '.join(preset_names())}, or the path of a .yaml file.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for what is made; the same command goes on with what is there.",
)
@click.option(
    "--places",
    "place_list",
    help=f"List of places: {', '.join(place_list_names())}, or the path of a .yaml file; in place "
    "of the five options that follow.",
)
@click.option("--conditions", help="Comma-separated, or all.  [default: clean]")
@click.option("--views", help=f"Comma-separated: {', '.join(VIEWS)}; or all.  [default: all]")
@click.option("--size", help=f"Width x height of the pictures, px.  [default: {USUAL.size}]")
@click.option("--fps", type=float, help=f"Frames per second.  [default: {USUAL.fps:g}]")
@click.option(
    "--normal-seconds",
    type=float,
    help=f"Normal footage to learn from.  [default: {USUAL.normal_seconds:g}]",
)
@click.option("--kinds", help="Kinds of anomaly, comma-separated, or all.  [default: all]")
@click.option("--seed", type=click.IntRange(0), help="Of what is rendered.  [default: 0]")
@options.training_threads
@click.option("--keep", is_flag=True, help="Leave the rendered clips in --out.")
@output_options("json", "html", "markdown")
def survey(
    name: str,
    out: Path,
    place_list: str | None,
    conditions: str | None,
    views: str | None,
    size: str | None,
    fps: float | None,
    normal_seconds: float | None,
    kinds: str | None,
    seed: int | None,
    threads: int,
    keep: bool,
    outputs: Outputs,
) -> None:
    """Train one preset at many places and measure it there, kind by kind of anomaly.

    At each place a scene is rendered with normal life to learn from and one test clip for each kind
    of anomaly; the truth is known. The tables show the frame AUC of the fusion and of each stream
    alone, whether the event was found at the bundle's threshold, how late, and false alarms; and
    where the fusion is worse than its better stream.

    A place that is measured is not measured again. One that fails stands in the table with its
    reason, and the others go on.
    """
    preset = load_preset(name)
    if place_list is None:
        places = grid_places(
            _names(conditions or "clean", CONDITIONS, "--conditions"),
            _names(views or ALL, VIEWS, "--views"),
            size=_or(size, USUAL.size),
            fps=_or(fps, USUAL.fps),
            normal_seconds=_or(normal_seconds, USUAL.normal_seconds),
            kinds=_names(kinds or ALL, KINDS, "--kinds"),
            seed=_or(seed, USUAL.seed),
        )
    else:
        if any(value is not None for value in (conditions, views, size, fps, normal_seconds)):
            raise UsageError(
                "--places says where; --conditions, --views, --size, --fps and --normal-seconds "
                "cannot be given beside it",
                mend="leave out one or the other",
            )
        shown = None if kinds is None else _names(kinds, KINDS, "--kinds")
        places = load_places(place_list, kinds=shown, seed=seed)
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    progress = ConsoleTraining()
    request = SurveyRequest(
        preset=preset,
        places=places,
        out=out,
        ranks=single(),
        threads=threads,
        command=command_for_records(sys.argv[1:]),
        keep=keep,
    )
    try:
        found = run_survey(request, progress)
    except KeyboardInterrupt:
        progress.end()
        progress.say("stopped; the same command goes on from there")
        raise
    outputs.write(
        lambda console: print_survey(found, console),
        {
            "json": lambda: json_from_survey(found),
            "html": lambda: html_from_survey(found),
            "markdown": lambda: markdown_from_survey(found),
        },
    )
    if not found.measured:
        raise InternalError(
            f"no place could be measured; the first said: {found.failed[0].what}",
            where=found.failed[0].where,
            mend=found.failed[0].mend,
        )


def _names(text: str, table: Collection[str], option: str) -> list[str]:
    """The names in a comma-separated list, each once, in its order."""
    if text == ALL:
        return list(table)
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        raise UsageError(
            f"{option}: there is no {unknown[0]!r}" if unknown else f"{option} names nothing",
            mend=f"choose from {', '.join(table)}, or say all",
        )
    return names


def _or(value: Value | None, usual: Value) -> Value:
    return usual if value is None else value
