"""`vigil ha`: what concerns Home Assistant."""

from __future__ import annotations

from pathlib import Path

import click

from edge.config import load_config
from edge.launch import broker_settings
from edge.publish.connection import ConnectionLostError
from edge.publish.home_assistant import discovery_topic
from edge.publish.once import publish_retained
from engines.errors import UnavailableError


@click.group(short_help="Home Assistant: take a device away.")
def ha() -> None:
    """What concerns Home Assistant.

    A device appears there by itself when its configuration holds `home_assistant: {discovery:
    true}`.
    """


@ha.command(short_help="Take the device of CONFIG out of Home Assistant.")
@click.argument("config", type=click.Path(path_type=Path))
def remove(config: Path) -> None:
    """Empty the retained discovery topic of the device of CONFIG.

    Switch discovery off in CONFIG first, or stop the daemon: it would describe itself again at its
    next connect.
    """
    resolved = load_config(config)
    settings = broker_settings(resolved)
    topic = discovery_topic(resolved.home_assistant.prefix, resolved.device)
    try:
        publish_retained(settings, topic, "")
    except ConnectionLostError as error:
        raise UnavailableError(
            f"the broker cannot be reached: {error}",
            where=str(settings.address),
            mend="start it, or check address and login in the configuration",
        ) from error
    click.echo(f"{topic} is empty now", err=True)
