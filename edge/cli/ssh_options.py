"""What the commands that reach devices over ssh have in common: options, progress, exit codes."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from edge.cli.main import report as print_error
from engines.errors import VigilError
from engines.flash.link import PROGRAM
from engines.flash.report import Report

_TELL_EVERY_S = 2.0
# One word for each state of a step; what is under way has none, its text says what it is.
_MARKS = {
    "begin": "...",
    "done": "ok",
    "skip": "skipped",
    "unchanged": "unchanged",
    "would change": "would change:",
    "changed": "changed:",
    "note": "note:",
}
NOT_TRIED = 75


def reaches_devices(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that reaches devices."""
    for option in (
        click.option(
            "-F",
            "--ssh-config",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Another ssh configuration (ports, keys, jump hosts).",
        ),
        click.option("--sudo/--no-sudo", default=True, help="Become root there with sudo -n."),
        click.option(
            "--program",
            default=f"{PROGRAM} device",
            show_default=True,
            metavar="COMMAND",
            help="The device's side there.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end."),
    ):
        command = option(command)
    return command


def program_of(text: str) -> tuple[str, ...]:
    """`--program` as an argument list."""
    return tuple(shlex.split(text))


class Progress:
    """Lines on standard error, each beginning with the device; progress not too often.

    Args:
        targets: All devices, for the width of the first column.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self._width = max(map(len, targets), default=0)
        self._lock = threading.Lock()
        self._told_s: dict[str, float] = {}

    def of(self, target: str) -> Callable[[str, str, str], None]:
        """The teller of one device."""

        def say(step: str, state: str, text: str) -> None:
            now_s = time.monotonic()
            with self._lock:
                if state == "progress":
                    if now_s - self._told_s.get(target, -_TELL_EVERY_S) < _TELL_EVERY_S:
                        return
                    self._told_s[target] = now_s
                mark = _MARKS.get(state, "")
                line = f"{target:<{self._width}}  {step:<12} {mark} {text}"
                click.echo(" ".join(line.split("\n")).rstrip(), err=True)

        return say


def end(ctx: click.Context, reports: Sequence[Report]) -> None:
    """Say what came of each device, and exit with the first failure's code."""
    for report in reports:
        where = f"{report.target}: {report.outcome}"
        about = f", {report.release}" if report.well else ""
        seconds = f" in {report.seconds:.0f} s" if report.seconds else ""
        click.echo(f"{where}{about}{seconds}" if report.well else where, err=True)
        for note in report.notes:
            click.echo(f"  note: {note}", err=True)
        if report.error is not None:
            print_error(report.error)
        elif report.reason:
            click.echo(f"  {report.reason}", err=True)
    code = next((exit_code(report) for report in reports if not report.well), 0)
    ctx.exit(code)


def exit_code(report: Report) -> int:
    """0: well; else the code of its error."""
    if report.well:
        return 0
    return NOT_TRIED if report.error is None else report.error.exit_code


def failed(target: str, error: VigilError) -> Report:
    """A report of a device that could not even be asked."""
    return Report(target, "failed", reason=error.what, error=error)
