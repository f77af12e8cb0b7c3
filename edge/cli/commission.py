"""`vigil commission`: learn on site what is normal in front of a camera."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import cv2
from pydantic import TypeAdapter, ValidationError

from calibration.site import SiteRecord
from calibration.site_store import SiteStore
from edge.capture.redact import redact_address
from edge.clock import SystemClock
from edge.commissioning.camera import commission_camera
from edge.commissioning.figures import span_in_words
from edge.commissioning.learn import Learned
from edge.commissioning.words import learned_in_words, record_in_words
from edge.config import Config, load_config
from edge.config_values import Duration
from edge.site import site_folder
from engines.atomic import write_bytes
from engines.errors import RefusedError, UsageError

_TELL_EVERY_S = 60.0
_TELLS = 10.0  # at least so often, also of a short time
_FROM_WHEN = "from the daemon's next start or reload on (systemctl reload vigil@NAME)"


class _DurationType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(TypeAdapter(Duration).validate_python(value))
        except ValidationError as error:
            self.fail(error.errors()[0]["msg"].removeprefix("Value error, "), param, ctx)


@click.command(short_help="Learn on site what is normal in front of a camera.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("camera", required=False)
@click.option("--for", "duration", type=_DurationType(), help="Footage to learn from, such as 24h.")
@click.option(
    "--false-alarms-per-day",
    type=click.FloatRange(min=0, min_open=True),
    help="Budget: alarms a day that you accept when nothing unusual happens [default: as now]",
)
@click.option(
    "--confidence",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the bound that the footage proves.",
)
@click.option(
    "--accept",
    multiple=True,
    type=click.Choice(["less-sensitive", "little-footage"]),
    help="Use the result although this is so; may be given twice. Without --for: use the result "
    "that was kept.",
)
@click.option("--undo", is_flag=True, help="Go back to what counted before.")
@click.option("--show", is_flag=True, help="Only tell what counts now.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def commission(
    *,
    config: Path,
    camera: str | None,
    duration: float | None,
    false_alarms_per_day: float | None,
    confidence: float,
    accept: tuple[str, ...],
    undo: bool,
    show: bool,
    as_json: bool,
) -> None:
    """Watch CAMERA of CONFIG while nothing unusual happens; learn cell statistics and threshold.

    The first third of the footage gives the statistics, the rest the threshold, counted in alarm
    events as the daemon would raise them. Says how sure that is. The result counts from the next
    start or reload of the daemon on; the bundle stays as it is, and --undo goes back.

    A result that makes the camera less sensitive, or that too little footage stands behind, is kept
    but not used until you --accept it. Look at its highest moments first: what is unusual among
    them was learned as normal. Breaking off changes nothing.

    \b
    Examples:
      vigil commission gate.yaml yard --for 24h --false-alarms-per-day 1
      vigil commission gate.yaml yard --accept little-footage
      vigil commission gate.yaml yard --undo
    Exit code 77: learned and kept, but not used; it has to be accepted.
    """
    resolved = load_config(config)
    name = _camera(resolved, camera)
    store = SiteStore(site_folder(resolved, name))
    if sum((undo, show, duration is not None or bool(accept))) != 1:
        raise UsageError(
            "give one of --for, --accept, --undo, --show", mend="vigil commission --help"
        )
    if undo:
        back = store.undo()
        what = "the bundle's own calibration" if back is None else f"calibration {back}"
        click.echo(f"{name}: {what} counts {_FROM_WHEN}", err=as_json)
        return
    if show:
        _show(store, name, as_json=as_json)
        return
    if duration is None:
        record = store.proposed().record
    else:
        store.require_writable()  # not after a day of footage
        source = redact_address(resolved.cameras[name].source)
        click.echo(
            f"{name}: learns from {span_in_words(duration)} of {source}; Ctrl-C changes nothing",
            err=True,
        )
        learned = commission_camera(
            resolved,
            name,
            seconds=duration,
            false_alarms_per_day=false_alarms_per_day,
            confidence=confidence,
            clock=SystemClock(),
            progress=_Progress(name, duration),
        )
        number = store.propose(learned.calibration)
        record = learned.calibration.record
        click.echo("\n".join(learned_in_words(learned)), err=as_json)
        if resolved.snapshots:
            _keep_pictures(learned, store.pictures(number), err=as_json)
    if as_json:
        click.echo(json.dumps(record.model_dump(mode="json"), indent=1))
    _use(store, record, accept, config, name, err=as_json)


def _camera(config: Config, camera: str | None) -> str:
    if camera is None and len(config.cameras) == 1:
        return next(iter(config.cameras))
    if camera not in config.cameras:
        raise UsageError(
            "name the camera" if camera is None else f"there is no camera {camera!r}",
            mend=f"cameras of this configuration: {', '.join(config.cameras)}",
        )
    return camera


class _Progress:
    """A line a minute, or each tenth of a shorter time."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._every_s = min(_TELL_EVERY_S, seconds / _TELLS)
        self._told = time.monotonic()

    def __call__(self, seen_s: float) -> None:
        if time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            of = f"{span_in_words(seen_s)} of {span_in_words(self._seconds)}"
            click.echo(f"{self._name}: {of} seen", err=True)


def _show(store: SiteStore, name: str, *, as_json: bool) -> None:
    state, found = store.state(), store.active()
    if as_json:
        record = None if found is None else found[1].record.model_dump(mode="json")
        click.echo(json.dumps({**state.model_dump(mode="json"), "record": record}, indent=1))
        return
    if found is None:
        click.echo(f"{name}: the bundle's own calibration counts")
    else:
        click.echo(
            "\n".join([f"{name}: calibration {found[0]} counts", *record_in_words(found[1].record)])
        )
    if state.proposed is not None:
        click.echo(f"calibration {state.proposed} was learned and waits to be accepted")


def _keep_pictures(learned: Learned, folder: Path, *, err: bool) -> None:
    for number, moment in enumerate(learned.moments, start=1):
        done, data = cv2.imencode(".jpg", moment.picture)
        if done:
            write_bytes(folder / f"{number:02d}.jpg", data.tobytes())
    click.echo(f"look at them: {folder}", err=err)


def _use(
    store: SiteStore,
    record: SiteRecord,
    accept: tuple[str, ...],
    config: Path,
    name: str,
    *,
    err: bool,
) -> None:
    open_concerns = {key: text for key, text in record.concerns.items() if key not in accept}
    if open_concerns:
        flags = " ".join(f"--accept {key}" for key in record.concerns)
        raise RefusedError(
            "learned and kept, but not used: "
            + "; ".join(f"{key}: {text}" for key, text in open_concerns.items()),
            where=str(store.folder),
            mend="learn from more footage (--for); or look at its highest moments, and then: vigil "
            f"commission {config} {name} {flags}",
        )
    number = store.accept()
    click.echo(
        f"calibration {number} counts {_FROM_WHEN}; --undo goes back",
        err=err,
    )
