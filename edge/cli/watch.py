"""`vigil watch`: print events as they arrive from the broker."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edge.publish.address import NAME_PATTERN, PREFIX_PATTERN, BrokerAddress, find_login
from edge.publish.tls import TlsFiles
from edge.watch import Heard, Watcher
from engines.errors import TemporaryError, UsageError

_ALL = "+"


@click.command(short_help="Print anomaly events as they arrive from the broker.")
@click.argument("url", default="mqtt://localhost")
@click.option("--device", metavar="NAME", default=_ALL, help="Only this device [default: all]")
@click.option("--prefix", default="vigil", show_default=True, help="First level of the topics.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="End after S seconds.")
@click.option(
    "--ca-file", type=click.Path(path_type=Path), help="Certificate authority for mqtts://."
)
@click.option(
    "--certificate-file", type=click.Path(path_type=Path), help="Client certificate for mqtts://."
)
@click.option("--key-file", type=click.Path(path_type=Path), help="Key of that certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print each message as one line of JSON.")
def watch(
    url: str,
    device: str,
    prefix: str,
    count: int | None,
    timeout: float | None,
    ca_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Subscribe at the broker URL (mqtt://host[:port]) and print what it sends.

    Repeated messages are left out, and a jump in the numbers of a device is told on standard error.
    Ends by itself only with --count or --timeout; otherwise it connects again when the broker
    returns. The login comes from VIGIL_MQTT_USERNAME and VIGIL_MQTT_PASSWORD(_FILE).

    \b
    Exit code 75: --timeout passed before --count messages came.
    """
    address = BrokerAddress.parse(url)
    if device != _ALL and not re.match(NAME_PATTERN, device):
        raise UsageError(
            f"{device!r} is no name of a device",
            where="--device",
            mend="give the `device` of its configuration: 1 to 32 of a-z, 0-9, _ and -",
        )
    if not re.match(PREFIX_PATTERN, prefix):
        raise UsageError(
            f"{prefix!r} cannot be the beginning of topics",
            where="--prefix",
            mend="give the `mqtt.prefix` of the configuration, such as vigil or site/vigil",
        )
    tls = TlsFiles(ca_file, certificate_file, key_file)
    if address.tls:
        tls.check()
    watcher = Watcher(
        address=address,
        login=find_login(address),
        topic=f"{prefix}/{device}/event",
        tls=tls,
    )
    seen = 0
    for heard in watcher.listen(timeout_s=timeout):
        _print(heard, as_json=as_json)
        seen += heard.payload is not None
        if count is not None and seen >= count:
            return
    if count is not None:
        raise TemporaryError(
            f"{seen} of {count} messages came within {timeout:g} s",
            where=str(address),
            mend="does the device publish there? vigil doctor CONFIG on it tells; or wait longer",
        )


def _print(heard: Heard, *, as_json: bool) -> None:
    if heard.payload is None:
        click.echo(heard.line, err=True)
    else:
        click.echo(heard.text if as_json else heard.line)
