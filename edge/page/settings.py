"""What the page is told: where it listens, who may look, how many."""

from __future__ import annotations

import ipaddress
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from engines.errors import ConfigError, InputMissingError

DEFAULT_PORT = 8642
DEFAULT_VIEWERS = 8
TOKEN_VARIABLE = "VIGIL_PAGE_TOKEN"  # noqa: S105  # the name of a variable, not a token
TOKEN_FILE_VARIABLE = "VIGIL_PAGE_TOKEN_FILE"  # noqa: S105  # as above
MIN_TOKEN_LENGTH = 16
MAX_TOKEN_LENGTH = 1024

_OTHERS = stat.S_IROTH | stat.S_IWOTH
_MEND = "make one: (umask 077; openssl rand -hex 32 > FILE), owned by the user that runs vigil"


@dataclass(frozen=True)
class PageSettings:
    """What the page is told.

    Attributes:
        bind: IP address to listen on.
        port: TCP port; 0: any free one.
        token: What a viewer has to know; None: nothing (only on loopback).
        hosts: Names under which browsers may reach the page, besides addresses, `localhost` and
            this machine's own name.
        viewers: How many may look at the same time.
        media: Folder of the events' pictures; None: there are none.
        certificate_file: TLS certificate; None: no TLS.
        key_file: Its key.
    """

    bind: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    viewers: int = DEFAULT_VIEWERS
    media: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @property
    def tls(self) -> bool:
        """Whether the page speaks HTTPS."""
        return self.certificate_file is not None

    @property
    def url(self) -> str:
        """Its address, for people."""
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    def to_json(self) -> str:
        """For the page's process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> PageSettings:
        """What `to_json` wrote."""
        values = json.loads(text)
        for name in ("media", "certificate_file", "key_file"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**{**values, "hosts": tuple(values["hosts"])})


def is_loopback(address: str) -> bool:
    """Whether an IP address is reached from this machine only."""
    return ipaddress.ip_address(address).is_loopback


def token_is_named(token_file: Path | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether configuration or environment say where the token is."""
    return token_file is not None or any(
        environment.get(name) for name in (TOKEN_VARIABLE, TOKEN_FILE_VARIABLE)
    )


def find_token(token_file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token; the first that is set wins: configured file, file of the environment, environment.

    Raises:
        InputMissingError: The file cannot be read.
        ConfigError: The token is too short or not plain text, or everybody may read its file.
    """
    named = environment.get(TOKEN_FILE_VARIABLE)
    path = token_file or (Path(named) if named else None)
    token = environment.get(TOKEN_VARIABLE) or None if path is None else _read(path)
    if token is None:
        return None
    where = TOKEN_VARIABLE if path is None else str(path)
    fits = MIN_TOKEN_LENGTH <= len(token) <= MAX_TOKEN_LENGTH
    if not fits or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"the page's token must be {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} plain characters",
            where=where,
            mend=_MEND,
        )
    return token


def _read(path: Path) -> str:
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(
                "everybody on this machine can read the page's token",
                where=str(path),
                mend=f"chmod 600 {path}",
            )
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputMissingError(
            f"the page's token cannot be read: {reason}", where=str(path), mend=_MEND
        ) from error
