"""`vigil device`: the device's side of `vigil flash`; a workstation calls it over ssh, as root."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edge.device_status import device_status
from edge.flash_runtime import CONFIGS, ENGINES, Device
from edge.trust import DEVICE_KEYS, trusted_keys
from engines.errors import RefusedError, VigilError
from engines.flash.disk import Disk
from engines.flash.gate import Patience
from engines.flash.home import DEFAULT, Home
from engines.flash.incoming import receive as receive_blobs
from engines.flash.incoming import take_offer
from engines.flash.install import Installer, read_boot_id
from engines.flash.journal import read_journal
from engines.flash.recover import recover as recover_home
from engines.flash.runtime import Ending
from engines.flash.services import RUN_FOLDER, Systemd
from engines.flash.words import error_json
from engines.trusted_keys import TrustedKeys, read_trusted

ROLLED_BACK = 65
"""The new bundle was refused by this device, after it was tried."""


@dataclass(frozen=True)
class _Place:
    """Where everything lies; other places are for tests."""

    home: Home
    configs: Path
    run: Path
    engines: Path
    keys: Path | None
    patience: Patience

    def trusted(self) -> TrustedKeys:
        """The device's keys; without any nothing is installed.

        Raises:
            RefusedError: There are none.
        """
        keys = read_trusted([self.keys]) if self.keys is not None else trusted_keys()
        if keys is None:
            raise RefusedError(
                "this device trusts no key yet, so it takes no bundle",
                where=str(DEVICE_KEYS),
                mend="vigil provision user@device --trust NAME.pub",
            )
        return keys

    def installer(self) -> Installer:
        services = Systemd(self.run)
        return Installer(
            home=self.home,
            disk=Disk(),
            services=services,
            runtime=Device(
                instances=services.instances,
                configs=self.configs,
                engines=self.engines,
                note=lambda text: _say("engine", "note", text),
            ),
            trusted=self.trusted(),
            say=_say,
            patience=self.patience,
            boot_id=read_boot_id(),
        )


_PATH = click.Path(path_type=Path)
_DOWNGRADE = click.option("--allow-downgrade", is_flag=True, help="Accept an older release.")


@click.group(short_help="The device's side of `vigil flash` (called over ssh).")
@click.option("--home", type=_PATH, default=DEFAULT, show_default=True, help="Releases, journal.")
@click.option("--configs", type=_PATH, default=CONFIGS, show_default=True, help="Configurations.")
@click.option("--run", type=_PATH, default=RUN_FOLDER, show_default=True, help="Runtime folders.")
@click.option("--engines", type=_PATH, default=ENGINES, show_default=True, help="TensorRT plans.")
@click.option("--trusted", type=_PATH, help="Trusted keys [default: the machine's].")
@click.option("--ready-seconds", type=float, default=Patience.ready_s, show_default=True)
@click.option("--frames-seconds", type=float, default=Patience.frames_s, show_default=True)
@click.option("--steady-seconds", type=float, default=Patience.steady_s, show_default=True)
@click.pass_context
def device(
    ctx: click.Context,
    *,
    home: Path,
    configs: Path,
    run: Path,
    engines: Path,
    trusted: Path | None,
    ready_seconds: float,
    frames_seconds: float,
    steady_seconds: float,
) -> None:
    """Receive, install, take back and recover bundles on this machine; JSON on standard output.

    Whoever flashes by hand uses `vigil flash` on a workstation instead.
    """
    patience = Patience(ready_seconds, frames_seconds, steady_seconds)
    ctx.obj = _Place(Home(home), configs, run, engines, trusted, patience)


@device.command()
@_DOWNGRADE
@click.pass_obj
def offer(place: _Place, allow_downgrade: bool) -> None:
    """Read manifest and signatures from standard input; tell which blobs are missing."""
    with _told(), place.home.locked():
        answer = take_offer(
            sys.stdin.buffer,
            home=place.home,
            disk=Disk(),
            journal=read_journal(place.home),
            trusted=place.trusted(),
            allow_downgrade=allow_downgrade,
        )
        _emit({"offer": answer.to_json()})


@device.command()
@click.argument("digest")
@click.pass_obj
def receive(place: _Place, digest: str) -> None:
    """Read blobs of bundle DIGEST from standard input; what is broken off is continued later."""
    with _told(), place.home.locked():
        receive_blobs(
            sys.stdin.buffer, home=place.home, disk=Disk(), digest=digest, trusted=place.trusted()
        )
        _emit({"received": digest})


@device.command()
@click.argument("digest")
@_DOWNGRADE
@click.option("--raise-floor", is_flag=True, help="Refuse anything older from now on, for ever.")
@click.pass_context
def install(ctx: click.Context, digest: str, allow_downgrade: bool, raise_floor: bool) -> None:
    """Verify, stage, prove, switch to and gate a received bundle; roll back if it is not well."""
    place: _Place = ctx.obj
    with _told(), _undisturbed(), place.home.locked():
        ending = place.installer().install(
            digest, allow_downgrade=allow_downgrade, raise_floor=raise_floor
        )
        _end(ctx, ending)


@device.command()
@click.pass_context
def rollback(ctx: click.Context) -> None:
    """Bring the release before the present one back, and gate it."""
    place: _Place = ctx.obj
    with _told(), _undisturbed(), place.home.locked():
        _end(ctx, place.installer().rollback())


@device.command()
@click.pass_context
def settle(ctx: click.Context) -> None:
    """Gate a release that is on trial since before a restart; commit it or take it back."""
    place: _Place = ctx.obj
    if read_journal(place.home).trial is None:
        return
    with _told(), _undisturbed(), place.home.locked():
        _end(ctx, place.installer().settle())


@device.command()
@click.pass_obj
def recover(place: _Place) -> None:
    """Make this machine whole after a power cut; runs before the daemons at every start."""
    if not place.home.root.is_dir():
        return
    with _told(), place.home.locked():
        journal, said = recover_home(place.home, Disk(), boot_id=read_boot_id())
        for text in said:
            _say("recover", "note", text)
        _emit({"recovered": {"current": journal.current, "trial": journal.trial is not None}})


@device.command()
@click.pass_obj
def status(place: _Place) -> None:
    """Tell what runs here and how it stands."""
    with _told():
        _emit(
            {
                "status": device_status(
                    place.home, Systemd(place.run), configs=place.configs, engines=place.engines
                )
            }
        )


def _end(ctx: click.Context, ending: Ending) -> None:
    _emit(
        {
            "ending": {
                "outcome": ending.outcome,
                "name": ending.name,
                "reason": ending.reason,
                "notes": list(ending.notes),
            }
        }
    )
    if ending.outcome == "rolled_back":
        ctx.exit(ROLLED_BACK)


def _say(step: str, state: str, text: str) -> None:
    _emit({"step": step, "state": state, "text": text})


def _emit(value: dict[str, Any]) -> None:
    """A line for the workstation; one that has gone away stops nothing."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors go to the workstation as JSON, and as ever to standard error."""
    try:
        yield
    except VigilError as error:
        _emit({"error": error_json(error)})
        raise


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A connection that goes away must not end what has begun."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGPIPE)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
