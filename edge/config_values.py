"""Kinds of values in the configuration: durations, sizes, paths, names, places in the picture."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from edge.publish.address import NAME_PATTERN
from edge.scoring.cell_rules import area
from engines.errors import VigilError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LARGEST_BYTES = 2.0**63  # more than any disk; numbers without end are no whole numbers
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")


def _quantity(value: object, units: Mapping[str, float], example: str) -> float:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"write a number and a unit ({', '.join(units)}), such as {example}")
    return float(match[1]) * units[match[2]]


def _seconds(value: object) -> float:
    return _quantity(value, _UNITS_S, "10s")


def _bytes(value: object) -> int:
    size = _quantity(value, _UNITS_BYTES, "64MiB")
    return int(min(size, _LARGEST_BYTES))


def _quantity_schema(units: Mapping[str, float], example: str) -> dict[str, Any]:
    pattern = rf"^\d+(\.\d+)? ?({'|'.join(units)})$"
    return {"type": "string", "pattern": pattern, "examples": [example]}


def absolute(path: Path, info: ValidationInfo) -> Path:
    """A path as counted from the configuration's folder."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    if "\0" in str(path):
        raise ValueError("a path holds no NUL character")
    os.fsencode(path)  # half a character (a lone surrogate) is an error here, not when it is opened
    try:
        return folder / path.expanduser()
    except RuntimeError:
        raise ValueError("this user has no home folder here; write the path out") from None


@contextlib.contextmanager
def as_problem() -> Iterator[None]:
    """An error of the runtime inside a validator is a problem of this value."""
    try:
        yield
    except VigilError as error:
        raise ValueError("; ".join(part for part in (error.what, error.mend) if part)) from error


Switch = Annotated[bool, Field(strict=True)]
"""``true`` or ``false``, and no text or number in their place."""
Count = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Duration = Annotated[
    float, BeforeValidator(_seconds), WithJsonSchema(_quantity_schema(_UNITS_S, "10s"))
]
"""Written as ``10s`` or ``5m``; held in seconds."""
Size = Annotated[
    int, BeforeValidator(_bytes), WithJsonSchema(_quantity_schema(_UNITS_BYTES, "64MiB"))
]
"""Written as ``64MiB``; held in bytes."""
FilePath = Annotated[Path, AfterValidator(absolute)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Device or camera: lower-case letters, digits, `_` and `-`, at most 32."""

_Share = Annotated[float, Field(ge=0, le=1, strict=True)]


def _has_area(
    corners: tuple[tuple[float, float], ...],
) -> tuple[tuple[float, float], ...]:
    if area(corners) <= 0.0:
        raise ValueError("the corners lie on one line, so nothing is inside")
    return corners


Place = Annotated[
    tuple[tuple[_Share, _Share], ...],
    Field(min_length=3, max_length=64),
    AfterValidator(_has_area),
]
"""A polygon: corners [x, y] in 0..1 of the picture, origin top left."""


class Section(BaseModel):
    """A mapping of the file; frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)
