"""The configuration's section about the page: `page`; without it there is no page."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from edge.config_values import FilePath, Section
from edge.page.settings import (
    DEFAULT_PORT,
    DEFAULT_VIEWERS,
    TOKEN_FILE_VARIABLE,
    is_loopback,
    token_is_named,
)

_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"


class PageConfig(Section):
    """The page; `page: {}` shows it on this machine only.

    Attributes:
        bind: IP address to listen on; 0.0.0.0 for all. Beyond loopback a token is needed.
        port: TCP port.
        token_file: File with the token that viewers have to give; also VIGIL_PAGE_TOKEN_FILE.
        hosts: Names under which browsers may reach the page, besides addresses and the machine's
            own name. Others are refused: so a foreign site cannot read it through a visitor.
        viewers: How many may look at the same time.
        certificate_file: Certificate (chain) for HTTPS.
        key_file: Its key.
    """

    bind: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_PORT
    token_file: FilePath | None = None
    hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = ()
    viewers: Annotated[int, Field(ge=1, le=64)] = DEFAULT_VIEWERS
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None

    @field_validator("bind")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value == "localhost":
            return "127.0.0.1"
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("give an IP address, such as 127.0.0.1 or 0.0.0.0") from None

    @model_validator(mode="after")
    def _has_token(self) -> PageConfig:
        if not is_loopback(self.bind) and not token_is_named(self.token_file):
            raise ValueError(
                f"beyond loopback the page needs a token: set `token_file`, or the environment's "
                f"{TOKEN_FILE_VARIABLE}"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("`certificate_file` and `key_file` go together")
        return self
