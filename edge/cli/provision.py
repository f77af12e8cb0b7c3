"""`vigil provision` and `vigil wheelhouse`: bare machines become devices, without an internet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from edge.cli.ssh_options import Progress, end, reaches_devices
from edge.config import config_from_text
from edge.publish.address import NAME_PATTERN
from engines.errors import InputMissingError, VigilError
from engines.flash.fleet import Waves, go_through
from engines.flash.provision import DROP_INS, Plan, Provisioned, password_of
from engines.flash.provision import provision as provision_one
from engines.flash.remote import LostError, Remote
from engines.flash.report import Report
from engines.flash.wheel_target import GLIBC_MINOR, MACHINES
from engines.flash.wheelhouse import make_wheelhouse, open_wheelhouse
from engines.signing_keys import key_id, read_public_key

_PATH = click.Path(path_type=Path)


@click.command(short_help="Collect all wheels that a device needs, for its Python and processor.")
@click.argument("folder", type=_PATH)
@click.option("--python", type=click.Choice(sorted(GLIBC_MINOR)), default="3.10", show_default=True)
@click.option("--machine", type=click.Choice(MACHINES), default="aarch64", show_default=True)
@click.option("--extra", "extras", multiple=True, help="Of vigil, such as page; repeatable.")
@click.option("--vigil", "own", type=_PATH, help="Its wheel [default: built from the sources]")
def wheelhouse(
    *, folder: Path, python: str, machine: str, extras: tuple[str, ...], own: Path | None
) -> None:
    """Download every wheel that a device needs into FOLDER, for `vigil provision --wheelhouse`.

    JetPack 6 has Python 3.10, JetPack 7 and Ubuntu 24.04 have 3.12, Debian 12 has 3.11, Debian 13
    has 3.13. Only this needs a network; the device gets the wheels over ssh.
    """
    house = make_wheelhouse(
        folder,
        python=python,
        machine=machine,
        extras=extras,
        own=own,
        say=lambda text: click.echo(text, err=True),
    )
    total = sum(wheel.size for wheel in house.wheels) / 1e6
    click.echo(
        f"{folder}: vigil {house.vigil} for Python {python} on {machine},"
        f" {len(house.wheels)} wheels, {total:.0f} MB"
    )


@click.command(short_help="Make bare machines ready for bundles: user, program, units, keys.")
@click.argument("targets", metavar="USER@DEVICE...", nargs=-1, required=True)
@click.option("--wheelhouse", "house", type=_PATH, required=True, help="Of `vigil wheelhouse`.")
@click.option("--instance", default="vigil", show_default=True, help="Name of the daemon.")
@click.option(
    "--trust", "keys", type=_PATH, multiple=True, help="Public key that signs bundles; repeatable."
)
@click.option(
    "--config", type=_PATH, help="Configuration [default: a skeleton, where there is none yet]"
)
@click.option("--mqtt-password-file", type=_PATH, help="Its first line is the broker's password.")
@click.option("--ask-mqtt-password", is_flag=True, help="Ask for the broker's password.")
@click.option(
    "--drop-in", "drop_ins", type=click.Choice(DROP_INS), multiple=True, help="What is there."
)
@click.option(
    "--system-site-packages", is_flag=True, help="See the device's own packages (JetPack)."
)
@click.option("--offline", is_flag=True, help="Nothing is fetched anyway; said for clarity.")
@click.option("--check", is_flag=True, help="Change nothing; tell what would be changed.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--root", default="/", hidden=True)
@reaches_devices
@click.pass_context
def provision(
    ctx: click.Context,
    *,
    targets: tuple[str, ...],
    house: Path,
    instance: str,
    keys: tuple[Path, ...],
    config: Path | None,
    mqtt_password_file: Path | None,
    ask_mqtt_password: bool,
    drop_ins: tuple[str, ...],
    system_site_packages: bool,
    offline: bool,
    check: bool,
    parallel: int,
    root: str,
    ssh_config: Path | None,
    sudo: bool,
    program: str,
    as_json: bool,
) -> None:
    """Make each device ready: user, folders, program, units, trusted keys, configuration, login.

    The device needs ssh, sudo, python3 and python3-venv, and no network beyond this connection.
    What is right already is left alone, so a second call changes nothing and says so. The broker's
    password travels over standard input into a file that only root can read.

    \b
    Exit code: 0 done; 65 the wheels are for another machine; 66 something named is not there;
    69 not reached, or python3-venv is missing; 75 try again; 77 login, host key or sudo refused.
    """
    del offline, program
    plan = Plan(
        wheels=open_wheelhouse(house),
        instance=_instance(instance),
        keys=keys,
        config=None if config is None else _config(config),
        password=_password(mqtt_password_file, ask=ask_mqtt_password),
        drop_ins=drop_ins,
        system_site_packages=system_site_packages,
        root=root,
    )
    for key in keys:
        click.echo(f"trusted key {key_id(read_public_key(key))}  {key}", err=True)
    for target in targets:
        Remote(target)
    progress = Progress(targets)
    found: dict[str, Provisioned] = {}

    def work(target: str) -> Report:
        report = Report(target, "failed")
        try:
            with Remote(target, ssh_config, sudo) as remote:
                found[target] = provision_one(remote, plan, check=check, say=progress.of(target))
            report.outcome = "committed" if found[target].changed else "already"
        except LostError as error:
            report.outcome, report.reason, report.error = "unreachable", error.what, error
        except VigilError as error:
            report.reason, report.error = error.what, error
        return report

    reports = go_through(targets, work, Waves(canary=0, parallel=parallel, max_failures=10**6))
    if as_json:
        click.echo(json.dumps(_told(reports, found), indent=1))
    for target, one in found.items():
        click.echo(f"{target}: {_summary(one, check=check)}", err=True)
    end(ctx, [report for report in reports if report.target not in found])


def _summary(one: Provisioned, *, check: bool) -> str:
    """In a line: which steps did change something, or would."""
    state, words = ("would change", "would be changed") if check else ("changed", "changed")
    steps = [step["step"] for step in one.steps if step["state"] == state]
    return f"{words}: {', '.join(steps)}" if steps else "nothing changed"


def _told(reports: list[Report], found: dict[str, Provisioned]) -> dict[str, Any]:
    devices = [found[r.target].to_json() if r.target in found else r.to_json() for r in reports]
    return {
        "changed": any(one.changed for one in found.values()),
        "failed": len(reports) - len(found),
        "devices": devices,
    }


def _instance(name: str) -> str:
    if re.match(NAME_PATTERN, name) is None:
        raise click.BadParameter("1 to 32 of a-z, 0-9, _ and -", param_hint="--instance")
    return name


def _config(path: Path) -> bytes:
    """A configuration with mistakes is told here, not by a daemon that does not start.

    Raises:
        ConfigError: It has mistakes.
        InputMissingError: It cannot be read.
    """
    data = _read(path, "the configuration")
    config_from_text(data.decode("utf-8", "replace"), file=str(path), folder=Path("/etc/vigil"))
    return data


def _password(path: Path | None, *, ask: bool) -> bytes | None:
    if path is not None:
        data = _read(path, "the password").splitlines() or [b""]
        return password_of(data[0], where=str(path))
    if ask:
        typed = str(click.prompt("The broker's password", hide_input=True, err=True))
        return password_of(typed.encode(), where="the prompt")
    return None


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputMissingError(
            f"{what} cannot be read: {error.strerror}", where=str(path), mend="give another file"
        ) from error
