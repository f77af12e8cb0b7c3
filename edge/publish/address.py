"""Addresses of brokers, logins without passwords on command lines, and topic names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from edge.secret_file import credential_file, read_secret
from engines.errors import ConfigError, UsageError

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
USERNAME_VARIABLE = "VIGIL_MQTT_USERNAME"
PASSWORD_VARIABLE = "VIGIL_MQTT_PASSWORD"  # noqa: S105  # the name of a variable, not a password
CREDENTIAL = "mqtt_password"  # the name of a systemd credential
PASSWORD_FILE_VARIABLE = "VIGIL_MQTT_PASSWORD_FILE"  # noqa: S105  # as above
NAME_PATTERN = r"^[a-z0-9_-]{1,32}$"
PREFIX_PATTERN = r"^[a-z0-9_-]+(/[a-z0-9_-]+)*$"

_MEND = "write mqtt://host or mqtt://host:port (mqtts:// for TLS)"
_PASSWORD_MEND = (
    f"leave it out of the address and set {PASSWORD_FILE_VARIABLE} (a file), {PASSWORD_VARIABLE}, "
    "or mqtt.password_file in the configuration"
)


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker listens."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Read ``mqtt://[user@]host[:port]`` or ``mqtts://...``.

        Raises:
            UsageError: Not such an address, or a password in it (it would show in the process list
                and in shell histories); the password is not repeated in the message.
        """
        parts, port = _split(url)
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        if parts.password is not None:
            raise UsageError("a broker's address must not hold a password", mend=_PASSWORD_MEND)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
            raise UsageError("this is not the address of a broker", where=shown, mend=_MEND)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UsageError(
                "a broker's address ends after host and port; topics are set by `prefix`",
                where=shown,
                mend=_MEND,
            )
        return cls(
            host=parts.hostname,
            port=DEFAULT_PORTS[parts.scheme] if port is None else port,
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


@dataclass(frozen=True)
class Login:
    """User and password for a broker; the password shows in no repr."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


def find_login(
    address: BrokerAddress,
    *,
    username: str | None = None,
    password_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Login:
    """The login from configuration, address and environment; the first that is set wins.

    User: configuration, address, ``VIGIL_MQTT_USERNAME``. Password: configured file,
    ``VIGIL_MQTT_PASSWORD_FILE``, ``VIGIL_MQTT_PASSWORD``, the systemd credential ``mqtt_password``.

    Raises:
        InputMissingError: The password file cannot be read.
        ConfigError: A password but no user.
    """
    user = username or address.username or environment.get(USERNAME_VARIABLE)
    named, given = environment.get(PASSWORD_FILE_VARIABLE), environment.get(PASSWORD_VARIABLE)
    path = password_file or (Path(named) if named else None)
    if path is None and given is None:
        path = credential_file(CREDENTIAL, environment)
    password = given if path is None else read_secret(path)
    if password and not user:
        raise ConfigError(
            "there is a password for the broker but no user name",
            where=str(address),
            mend=f"set mqtt.username in the configuration, or {USERNAME_VARIABLE}",
        )
    return Login(username=user, password=password or None)


@dataclass(frozen=True)
class Topics:
    """Topic names of one device; no level of them can be empty."""

    device: str
    prefix: str = "vigil"

    def __post_init__(self) -> None:
        assert re.match(NAME_PATTERN, self.device), self.device
        assert all(self.prefix.split("/")), self.prefix

    @property
    def root(self) -> str:
        """What all topics of the device begin with."""
        return f"{self.prefix}/{self.device}"

    @property
    def status(self) -> str:
        """``online`` or ``offline``; retained, last will."""
        return f"{self.root}/status"

    @property
    def state(self) -> str:
        """What the device is doing, JSON; retained."""
        return f"{self.root}/state"

    @property
    def event(self) -> str:
        """Event messages of all cameras; not retained."""
        return f"{self.root}/event"

    def camera_state(self, camera: str) -> str:
        """What a camera is doing, JSON; retained."""
        return f"{self.root}/camera/{camera}/state"

    def camera_alarm(self, camera: str) -> str:
        """``ON`` while an event of the camera is open, else ``OFF``; retained."""
        return f"{self.root}/camera/{camera}/alarm"

    def camera_snapshot(self, camera: str) -> str:
        """JPEG of the newest event; retained, and only where that is configured."""
        return f"{self.root}/camera/{camera}/snapshot"


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        port = parts.port
    except ValueError as error:
        # Brackets or port are wrong; the address is not shown, it may hold a password.
        raise UsageError("this is not the address of a broker", mend=_MEND) from error
    return parts, port
