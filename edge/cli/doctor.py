"""`vigil doctor`: what is wrong with this device, and what mends it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from edge.clock import SystemClock
from edge.doctor.check import Finding
from edge.doctor.examine import examine
from edge.doctor.reach import CAMERA_S

UNWELL = 1


@click.command(short_help="Test this device: everything that a configuration needs.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--cameras/--no-cameras", default=True, help="Open the cameras, too.")
@click.option(
    "--camera-seconds",
    type=click.FloatRange(min=0.5, max=600),
    default=CAMERA_S,
    show_default=True,
    help="How long to watch each camera.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def doctor(config: Path, cameras: bool, camera_seconds: float, as_json: bool) -> None:
    """Look at everything that CONFIG names, in the order in which it is needed.

    Configuration, folders and their rights, disk, password files, clock, memory, GPU, bundle,
    networks against their golden answers, outbox, broker (a message there and back), each camera.
    Each line is ok, warn, fail or skip, and what is not well comes with what mends it. May be run
    beside the daemon; run it as the same user (sudo -u vigil).

    \b
    Exit code: 0 nothing failed, 1 something did.
    """
    findings: list[Finding] = []
    found = examine(config, clock=SystemClock(), cameras=cameras, camera_s=camera_seconds)
    for finding in found:
        findings.append(finding)
        if not as_json:
            click.echo("\n".join(finding.lines()))
    failed = sum(finding.grade == "fail" for finding in findings)
    if as_json:
        report = {"failed": failed, "findings": [finding.to_json() for finding in findings]}
        click.echo(json.dumps(report, indent=1))
    else:
        warned = sum(finding.grade == "warn" for finding in findings)
        click.echo(f"{failed} failed, {warned} with a warning, of {len(findings)} checks")
    sys.exit(UNWELL if failed else 0)
