"""`vigil flash` and `vigil rollback`: bundles onto devices over ssh, and back."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge.cli.ssh_options import Progress, end, program_of, reaches_devices
from engines.errors import VigilError
from engines.flash.fleet import Waves, go_through
from engines.flash.link import Device
from engines.flash.outgoing import open_local
from engines.flash.push import Options, Push
from engines.flash.remote import LostError, Remote
from engines.flash.report import Report, take_ending

_PARALLEL = click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Devices at once, after the canary.",
)
_CANARY = click.option(
    "--canary",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="So many devices come first, alone.",
)
_FAILURES = click.option(
    "--max-failures",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="With more failures no further device is begun.",
)


@click.command(short_help="Put a signed bundle on devices; they go back by themselves if it fails.")
@click.argument("root", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("targets", metavar="USER@DEVICE...", nargs=-1, required=True)
@_CANARY
@_PARALLEL
@_FAILURES
@click.option(
    "--soak-seconds",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Pause after the canary.",
)
@click.option("--allow-downgrade", is_flag=True, help="Accept an older release on purpose.")
@click.option("--raise-floor", is_flag=True, help="Devices refuse anything older, for ever.")
@click.option(
    "--patient-seconds",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="A lost connection is tried again for so long.",
)
@reaches_devices
@click.pass_context
def flash(
    ctx: click.Context,
    *,
    root: Path,
    targets: tuple[str, ...],
    canary: int,
    parallel: int,
    max_failures: int,
    soak_seconds: float,
    allow_downgrade: bool,
    raise_floor: bool,
    patient_seconds: float,
    ssh_config: Path | None,
    sudo: bool,
    program: str,
    as_json: bool,
) -> None:
    """Put BUNDLE on each device, switch to it, and see that it is well there.

    The device verifies the signature before it reads anything, unpacks beside the old release, runs
    the golden inputs, builds its engines, switches, restarts the daemon and waits until it is ready
    and scores frames. If anything of that fails, the old release runs (again). A transfer that
    breaks goes on where it was.

    \b
    Exit code: 0 every device runs BUNDLE; else that of the first device that does not:
      65 rolled back, or the bundle is damaged    75 not begun, or try again
      66 no vigil there (vigil provision)         77 signature, release, login or host key refused
      69 not reached                              78 a configuration there has mistakes
    """
    bundle = open_local(root)
    options = Options(
        allow_downgrade=allow_downgrade,
        raise_floor=raise_floor,
        program=program_of(program),
        patient_s=patient_seconds,
    )
    progress = Progress(targets)

    def work(target: str) -> Report:
        with Remote(target, ssh_config, sudo) as remote:
            return Push(remote, bundle, options, say=progress.of(target)).run()

    _check(targets)
    reports = go_through(targets, work, Waves(canary, parallel, max_failures, soak_seconds))
    _tell(ctx, reports, as_json=as_json, bundle=bundle.name)


@click.command(short_help="Bring the release before the present one back.")
@click.argument("targets", metavar="USER@DEVICE...", nargs=-1, required=True)
@_PARALLEL
@reaches_devices
@click.pass_context
def rollback(
    ctx: click.Context,
    *,
    targets: tuple[str, ...],
    parallel: int,
    ssh_config: Path | None,
    sudo: bool,
    program: str,
    as_json: bool,
) -> None:
    """Let each device run its earlier release again; it is still there, nothing is sent.

    If the earlier one is not well, the present one stays. Exit codes as of `vigil flash`.
    """
    progress = Progress(targets)

    def work(target: str) -> Report:
        report = Report(target, "failed")
        try:
            with Remote(target, ssh_config, sudo) as remote:
                device = Device(remote, program_of(program))
                say = progress.of(target)
                take_ending(report, device.ask("ending", ["rollback"], say=say, timeout_s=None))
        except LostError as error:
            report.outcome, report.reason, report.error = "unreachable", error.what, error
        except VigilError as error:
            report.reason, report.error = error.what, error
        return report

    _check(targets)
    reports = go_through(targets, work, Waves(canary=0, parallel=parallel, max_failures=10**6))
    _tell(ctx, reports, as_json=as_json, bundle=None)


def _check(targets: tuple[str, ...]) -> None:
    """A mistake in the last name must not be found when the first device is done."""
    for target in targets:
        Remote(target)


def _tell(ctx: click.Context, reports: list[Report], *, as_json: bool, bundle: str | None) -> None:
    if as_json:
        told = {"bundle": bundle, "devices": [report.to_json() for report in reports]}
        click.echo(json.dumps(told, indent=1))
    end(ctx, reports)
