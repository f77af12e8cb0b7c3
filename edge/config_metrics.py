"""The configuration's section about metrics."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, field_validator

from edge.config_values import Count, Section


class MetricsConfig(Section):
    """Where Prometheus finds the metrics.

    Attributes:
        address: IP address to listen at. Beyond loopback anybody who reaches it reads names of
            cameras and scores.
        port: TCP port.
    """

    address: str = "127.0.0.1"
    port: Annotated[Count, Field(ge=1, le=65535)] = 9468

    @field_validator("address")
    @classmethod
    def _is_ip(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("write an IP address, such as 127.0.0.1") from None
        return value
