"""`vigil run`: watch cameras or recordings and publish anomaly events."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from edge.cli.signals import Signals
from edge.clock import SystemClock
from edge.config import CONFIG_SCHEMA, Config, load_config
from edge.config_schema import SCHEMA_PATH
from edge.gpu.choose import COMPUTES
from edge.launch import open_daemon
from edge.notify import Notifier
from edge.publish.address import BrokerAddress
from edge.run_summary import RunSummary
from engines.errors import TemporaryError, UsageError, VigilError

_TRY_ONLY = (
    *("bundle", "source", "mqtt", "device", "camera"),
    *("state", "snapshots", "realtime", "page"),
)


@click.command(short_help="Watch cameras or a recording; publish anomaly events over MQTT.")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to run (no CONFIG).")
@click.option("--source", help="Video file, folder of pictures, URL or device (no CONFIG).")
@click.option(
    "--mqtt", metavar="URL", help="Broker, mqtt://host[:port] [default: mqtt://localhost]"
)
@click.option("--device", metavar="NAME", help="Name of this device in topics [default: vigil]")
@click.option("--camera", metavar="NAME", help="Name of the camera in events [default: camera]")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Folder of the outbox [default: ~/.local/state/vigil/<device>]",
)
@click.option(
    "--snapshots",
    type=click.Path(path_type=Path),
    help="Folder of the pictures [default: media in the state folder]",
)
@click.option(
    "--realtime/--max-speed", default=None, help="Play a recording at its own speed, or flat out."
)
@click.option(
    "--page", is_flag=True, default=None, help="Show a page on http://127.0.0.1:8642 (no CONFIG)."
)
@click.option("--backend", help="Backend of the networks [default: auto]")
@click.option(
    "--threads", type=click.IntRange(0), help="Threads of the networks [default: 0, auto]"
)
@click.option(
    "--compute",
    type=click.Choice(COMPUTES),
    help="Where pictures are worked on [default: auto, the GPU where all plans were built here]",
)
@click.option("--check", is_flag=True, help="Only check CONFIG; tells all mistakes at once.")
@click.option("--schema", is_flag=True, help="Only print the JSON Schema of CONFIG, for editors.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output."
)
def run(config: Path | None, check: bool, schema: bool, as_json: bool, **options: Any) -> None:
    """Watch the cameras of CONFIG (YAML), or one SOURCE with one BUNDLE for a first try.

    Each event is published at QoS 1 on vigil/DEVICE/event as `start`, `update` and `end`, with a
    picture of its peak and the score map. Messages lie in an outbox on the disk until the broker
    has taken them: a broker that is absent or restarts loses nothing. A recording ends the run;
    Ctrl-C or SIGTERM ends it cleanly, a second one does not wait for the broker.

    SIGHUP reads CONFIG again: cameras that are new or other in it, and what `vigil commission` has
    learned, count from then on; a wrong CONFIG changes nothing. The rest of it needs a restart,
    and the log says so.

    The broker's login comes from VIGIL_MQTT_USERNAME and VIGIL_MQTT_PASSWORD or
    VIGIL_MQTT_PASSWORD_FILE, or from CONFIG; never from the command line.

    \b
    Examples:
      vigil run gate.yaml
      vigil run --bundle bundle/ --source yard.mp4 --mqtt mqtt://localhost:1883
    """
    if schema:
        click.echo(SCHEMA_PATH.read_text(encoding="utf-8"), nl=False)
        return
    resolved = _resolve(config, options)
    if check:
        click.echo(f"{config}: no problem found, {len(resolved.cameras)} camera(s)", err=True)
        return
    notifier = Notifier()
    _stacks_on_request()
    again = None if config is None else partial(_resolve, config, options)
    with (
        _told(notifier),
        Signals(reloads=config is not None) as signals,
        open_daemon(resolved, clock=SystemClock(), notifier=notifier, read_again=again) as daemon,
    ):
        signals.attach(daemon)
        summary = daemon.run()
        failures = daemon.failures
    _report(summary, as_json=as_json)
    if failures:
        raise failures[0]
    _require_delivered(summary, resolved)


def _resolve(path: Path | None, options: dict[str, Any]) -> Config:
    given = {name: value for name, value in options.items() if value is not None}
    if path is not None:
        mixed = [f"--{name}" for name in _TRY_ONLY if name in given]
        if mixed:
            raise UsageError(
                f"CONFIG and {', '.join(mixed)} were both given",
                mend="set it in the configuration, or leave CONFIG out",
            )
        # `--backend`, `--threads` and `--compute` may be tried without changing the file.
        return load_config(path).model_copy(update=given)
    if "bundle" not in given or "source" not in given:
        raise UsageError(
            "nothing to run",
            mend="give a configuration file, or --bundle BUNDLE --source SOURCE --mqtt URL",
        )
    return _first_try(given)


def _first_try(given: dict[str, Any]) -> Config:
    """A configuration from the command line alone."""
    url = given.get("mqtt", "mqtt://localhost")
    BrokerAddress.parse(url)  # refuses a password with advice, and without repeating it
    device = given.get("device", "vigil")
    camera = {"source": given["source"], "realtime": given.get("realtime", False)}
    raw = {
        "schema_version": CONFIG_SCHEMA,
        "device": device,
        "bundle": given["bundle"],
        "state": given.get("state") or _state_folder(device),
        "media": given.get("snapshots"),
        "backend": given.get("backend", "auto"),
        "threads": given.get("threads", 0),
        "compute": given.get("compute", "auto"),
        "mqtt": {"url": url},
        "page": {} if given.get("page") else None,
        "cameras": {given.get("camera", "camera"): camera},
    }
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        if place[0] == "device" or "[key]" in place:
            raise UsageError(
                "a name of a device or camera is 1 to 32 of a-z, 0-9, _ and -",
                where="--device" if place[0] == "device" else "--camera",
                mend="give another name, such as gate-01",
            ) from None
        what, _, mend = first["msg"].removeprefix("Value error, ").partition("; ")
        option = place[-1] if place[0] == "cameras" else place[0]
        raise UsageError(what, where=f"--{option}", mend=mend or "vigil run --help") from None


def _state_folder(device: str) -> Path:
    """The state folder that systemd gives, else the user's."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "vigil" / device


@contextlib.contextmanager
def _told(notifier: Notifier) -> Iterator[None]:
    """What ends the run early stands in `systemctl status`, too."""
    try:
        yield
    except VigilError as error:
        notifier.status(str(error))
        raise
    finally:
        notifier.close()


def _stacks_on_request() -> None:
    """All threads' stacks on SIGUSR1, and on the SIGABRT of a watchdog that was not fed."""
    with contextlib.suppress(io.UnsupportedOperation, ValueError, RuntimeError, AttributeError):
        faulthandler.enable(file=sys.stderr)
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)


def _report(summary: RunSummary, *, as_json: bool) -> None:
    for line in summary.lines():
        click.echo(line, err=True)
    if as_json:
        click.echo(json.dumps(summary.to_json()))


def _require_delivered(summary: RunSummary, config: Config) -> None:
    """A recording that ended with messages left is unfinished work; a stopped run is not."""
    if summary.outbox_left and not summary.stopped:
        what = "took not all of it" if summary.broker_reached else "could not be reached"
        left = f"{summary.outbox_left} messages are kept and go out at the next run"
        raise TemporaryError(
            f"the broker {what}; {left}",
            where=f"{summary.broker}, {config.state}",
            mend="start the broker (for a try: mosquitto -v), check address and login, run again",
        )
