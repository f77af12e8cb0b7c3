"""From a checked configuration to the page."""

from __future__ import annotations

import importlib.util
import ssl
import sys

from edge.clock import Clock
from edge.config import Config
from edge.config_page import PageConfig
from edge.events.tracker import Detector
from edge.page.board import promise_of
from edge.page.journal import Journal
from edge.page.observer import PageObserver
from edge.page.settings import PageSettings, find_token
from edge.page.wire import Message
from engines.errors import ConfigError, UnavailableError

JOURNAL_NAME = "page_events.json"
_NEEDED = ("starlette", "uvicorn")


def open_page(config: Config, detector: Detector, *, clock: Clock) -> PageObserver | None:
    """The page that the configuration asks for; None: it asks for none.

    An address that is taken is not an error here: cameras are watched all the same, and the page
    is tried again.

    Raises:
        UnavailableError: A package is missing.
        ConfigError: Token or certificate cannot be used.
        InputMissingError: The token cannot be read.
    """
    if config.page is None:
        return None
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(
                f"the page needs the Python package {package}, which is not installed",
                where=sys.executable,
                mend="pip install 'vigil[page]', or take `page` out of the configuration",
            )
    return PageObserver(
        settings=page_settings(config, config.page),
        device=device_message(config, detector),
        clock=clock,
        journal=Journal(config.state / JOURNAL_NAME, clock=clock),
    )


def page_settings(config: Config, page: PageConfig) -> PageSettings:
    """The section as the page's process takes it.

    Raises:
        ConfigError: Token or certificate cannot be used.
        InputMissingError: The token cannot be read.
    """
    if page.certificate_file is not None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(page.certificate_file, page.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the page's certificate cannot be used: {error.strerror or error}",
                where=f"{page.certificate_file}, {page.key_file}",
                mend="give a PEM certificate chain and its key, readable by the user of vigil",
            ) from error
    return PageSettings(
        bind=page.bind,
        port=page.port,
        token=find_token(page.token_file),
        hosts=page.hosts,
        viewers=page.viewers,
        media=config.media_folder,
        certificate_file=page.certificate_file,
        key_file=page.key_file,
    )


def device_message(config: Config, detector: Detector) -> Message:
    """What the page says of the device and its model."""
    model = detector.model
    return {
        "name": config.device,
        "release": model.release,
        "model": model.name,
        "unit": detector.unit,
        "threshold": detector.alarm.threshold,
        **promise_of(detector.budget),
    }
