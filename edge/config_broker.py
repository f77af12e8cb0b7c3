"""The configuration's sections about delivery: `mqtt` and `outbox`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from edge.config_values import Count, Duration, FilePath, Section, Size, as_problem
from edge.publish.address import PREFIX_PATTERN, BrokerAddress


class MqttConfig(Section):
    """The broker.

    Attributes:
        url: ``mqtt://host[:port]`` or ``mqtts://`` for TLS; no password in it.
        username: Login; also VIGIL_MQTT_USERNAME.
        password_file: File that holds the password; also VIGIL_MQTT_PASSWORD_FILE.
        prefix: First levels of all topics.
        protocol: MQTT version; ``auto``: 5, and 3.1.1 if the broker cannot do that.
        ca_file: Certificate authority for TLS; the system's if not given.
        certificate_file: Client certificate for TLS.
        key_file: Its key.
        insecure_skip_verify: Believe any certificate of the broker.
        snapshots: Publish the newest event's picture of each camera, retained; off for privacy.
        keepalive: Silence after which the connection is tested.
        reconnect_max: Longest pause between attempts to connect.
        flush: How long an ending run waits for the broker to take what is left.
    """

    url: str = "mqtt://localhost"
    username: Annotated[str, Field(min_length=1)] | None = None
    password_file: FilePath | None = None
    prefix: Annotated[str, Field(pattern=PREFIX_PATTERN, max_length=64)] = "vigil"
    protocol: Annotated[
        Literal["auto", "5", "3.1.1"], WithJsonSchema({"enum": ["auto", "5", "3.1.1", 5]})
    ] = "auto"
    ca_file: FilePath | None = None
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None
    insecure_skip_verify: bool = False
    snapshots: bool = False
    keepalive: Annotated[Duration, Field(ge=5, le=3600)] = 30.0
    reconnect_max: Annotated[Duration, Field(gt=0, le=3600)] = 60.0
    flush: Annotated[Duration, Field(ge=0, le=600)] = 10.0

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        with as_problem():
            BrokerAddress.parse(value)
        return value

    @model_validator(mode="after")
    def _files_fit(self) -> MqttConfig:
        """Files for TLS are of use only with TLS, and a key only with its certificate."""
        files = (self.ca_file, self.certificate_file, self.key_file)
        if any(files) and not self.address.tls:
            raise ValueError("files for TLS need an address that begins with mqtts://")
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file needs certificate_file")
        return self

    @field_validator("protocol", mode="before")
    @classmethod
    def _five(cls, value: object) -> object:
        """YAML reads `5` as a number."""
        return "5" if type(value) is int and value == 5 else value

    @property
    def address(self) -> BrokerAddress:
        """The parsed `url`."""
        return BrokerAddress.parse(self.url)


class HomeAssistantConfig(Section):
    """Home Assistant.

    Attributes:
        discovery: Describe the device and its cameras, so that they appear there by themselves.
        prefix: Its discovery prefix.
    """

    discovery: bool = False
    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*$", max_length=64)] = (
        "homeassistant"
    )


class OutboxConfig(Section):
    """How much may wait for the broker before old messages are dropped (with a gap message)."""

    max_rows: Annotated[Count, Field(ge=100)] = 50_000
    max_size: Annotated[Size, Field(ge=2**20)] = 64 * 2**20
