"""Options that several commands share: one wording, one range, one default for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from engines.backends.choose import AUTO
from trainer.datasets.layouts import layout_names

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

MOST_SEED = 2**31 - 1
TEST_SET = "Data set with a training and a test part."

fps = click.option(
    "--fps",
    type=click.FloatRange(min=0, min_open=True),
    help="Frames per second, where folders do not say.",
)
layout = click.option(
    "--layout",
    type=click.Choice(layout_names()),
    help="Layout of the data set; recognised by its folders unless given.",
)
training_threads = click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="CPU threads of this machine, divided among its processes.",
)
running_threads = click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Threads of networks and pictures; 0 lets the libraries choose.",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Of the training; auto takes the GPU if there is one.",
)
backend = click.option(
    "--backend",
    default=AUTO,
    show_default=True,
    help="Of the networks; NAME, NAME/PRECISION or auto/PRECISION, such as auto/int8.",
)


def dataset(*, required: bool = True, words: str = TEST_SET) -> Decorator:
    """`--dataset DIR`, as parameter `root`.

    Args:
        required: Whether the command cannot do without.
        words: What it is for.
    """
    return click.option(
        "--dataset", "root", required=required, type=click.Path(path_type=Path), help=words
    )


def plan_options(command: Command) -> Command:
    """What `vigil ablate` and `vigil compare` ask of a run."""
    return together(
        click.option("--only", multiple=True, metavar="ROW", help="Run this row; may be repeated."),
        layout,
        fps,
        training_threads,
        device,
        click.option(
            "--keep-bundles", is_flag=True, help="Leave every row's bundle in its run directory."
        ),
    )(command)


def read_seeds(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """Callback of an option: `0,1,2` as (0, 1, 2)."""
    del context, parameter
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= MOST_SEED for part in parts):
        raise click.BadParameter(f"{text!r} is no list of seeds such as 0,1,2")
    return tuple(dict.fromkeys(int(part) for part in parts))


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator, in their order; click puts the last one's first."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
