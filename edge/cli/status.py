"""`vigil status`: what runs on which device, and how it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from edge.cli.main import report as print_error
from edge.cli.ssh_options import program_of, reaches_devices
from engines.errors import VigilError
from engines.flash.link import Device
from engines.flash.remote import Remote
from engines.flash.words import error_json, printable

UNWELL = 1
_HEAD = ("device", "release", "vigil", "daemon", "engine", "cameras", "last alarm", "health")


@click.command(short_help="What runs on devices: release, engine, daemon, last alarm, health.")
@click.argument("targets", metavar="USER@DEVICE...", nargs=-1, required=True)
@reaches_devices
@click.pass_context
def status(
    ctx: click.Context,
    *,
    targets: tuple[str, ...],
    ssh_config: Path | None,
    sudo: bool,
    program: str,
    as_json: bool,
) -> None:
    """Ask each device what runs there and how it stands; changes nothing.

    \b
    Exit code: 0 all are well, 1 one is not; a device that cannot be asked gives its error's code.
    """
    for target in targets:
        Remote(target)

    def ask(target: str) -> dict[str, Any] | VigilError:
        try:
            with Remote(target, ssh_config, sudo) as remote:
                found = Device(remote, program_of(program)).ask("status", ["status"])
        except VigilError as error:
            return error
        return found if isinstance(found, dict) else {}

    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = dict(zip(targets, pool.map(ask, targets), strict=True))
    if as_json:
        told = {
            target: {"error": error_json(answer)} if isinstance(answer, VigilError) else answer
            for target, answer in answers.items()
        }
        click.echo(json.dumps(told, indent=1))
    else:
        click.echo("\n".join(table(answers)))
    code = 0
    for answer in answers.values():
        if isinstance(answer, VigilError):
            print_error(answer)
            code = code if code > UNWELL else answer.exit_code
        elif problems_of(answer):
            code = code or UNWELL
    ctx.exit(code)


def table(answers: dict[str, dict[str, Any] | VigilError]) -> list[str]:
    """One line a daemon, columns as wide as they must be."""
    rows: list[Sequence[str]] = [_HEAD]
    for target, answer in answers.items():
        if isinstance(answer, VigilError):
            rows.append((target, "?", "?", "?", "", "", "", printable(answer.what, 60)))
            continue
        rows += _rows(target, answer)
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows]  # fmt: skip


def problems_of(answer: dict[str, Any]) -> list[str]:
    """Why a device is not well; empty: it is."""
    found = [str(problem) for problem in answer.get("problems", [])]
    if answer.get("running") is None:
        found.append("no bundle yet: vigil flash")
    for name, one in answer.get("instances", {}).items():
        cameras = (one.get("health") or {}).get("cameras", {})
        away = [f"{c} {s['state']}" for c, s in cameras.items() if s["state"] not in _FINE]
        found += [f"{name}: {', '.join(away)}"] if away else []
    return found


_FINE = {"live", "disabled"}


def _rows(target: str, answer: dict[str, Any]) -> list[Sequence[str]]:
    journal = answer.get("journal") or {}
    trial = " (on trial)" if journal.get("trial") else ""
    release = f"{answer.get('running') or 'none'}{trial}"
    problems = "; ".join(problems_of(answer)) or "ok"
    last = journal.get("last")
    if last and last.get("outcome") != "committed":
        problems += f"; last flash {last['outcome']}: {last['reason']}"
    instances = answer.get("instances") or {"-": {}}
    rows: list[Sequence[str]] = []
    for name, one in instances.items():
        health = one.get("health") or {}
        cameras = health.get("cameras", {})
        live = sum(camera["state"] == "live" for camera in cameras.values())
        engine = f"{health['backend']} {health['precision']}" if health else ""
        event = one.get("last_event") or {}
        cells = (
            target,
            release,
            str(answer.get("vigil", "?")),
            f"{name} {one.get('active', 'none')}".removeprefix("- "),
            engine,
            f"{live}/{len(cameras)}" if health else "",
            f"{event.get('started_at', '')} {event.get('camera', '')}".strip() or "none",
            problems,
        )
        rows.append(tuple(printable(cell, 200) for cell in cells))
    return rows
