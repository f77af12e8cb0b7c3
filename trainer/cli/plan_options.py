"""Options that `vigil ablate` and `vigil compare` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trainer.datasets.layouts import layout_names

Command = Callable[..., Any]

_RUN = (
    click.option("--only", multiple=True, metavar="ROW", help="Run this row; may be repeated."),
    click.option("--layout", type=click.Choice(layout_names()), help="Default: recognised."),
    click.option(
        "--fps", type=click.FloatRange(min=0, min_open=True), help="Frame rate of picture folders."
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        default=os.cpu_count() or 1,
        show_default="all cores",
        help="CPU threads of training and evaluation.",
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Of the training; auto takes the GPU if there is one.",
    ),
    click.option(
        "--keep-bundles", is_flag=True, help="Leave every row's bundle in its run directory."
    ),
)
_TABLE = (
    click.option(
        "--json", "json_file", help="Write the table to this file; - for standard output."
    ),
    click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page here."),
    click.option(
        "--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write Markdown here."
    ),
)


def run_options(command: Command) -> Command:
    """What is run, on what, and where."""
    return _with(command, _RUN)


def table_options(command: Command) -> Command:
    """Where the table goes besides the terminal."""
    return _with(command, _TABLE)


def read_seeds(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """Callback of an option: `0,1,2` as (0, 1, 2)."""
    del context, parameter
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**31 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of seeds such as 0,1,2")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    """Options in their order; click puts the last decorator's first."""
    for option in reversed(options):
        command = option(command)
    return command
