"""The JSON Schema of the configuration, for editors: made from the model, published beside it.

It accepts every file that `edge.config` accepts. It refuses unknown and missing keys, wrong kinds
of values and wrong forms; some limits only the model knows: bounds of durations and sizes, whether
an address or a place in the picture makes sense.

An editor takes it from a first line such as

    # yaml-language-server: $schema=/etc/vigil/config.schema.json
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from edge.config import Config
from edge.config_cameras import CameraDefaults

SCHEMA_PATH = Path(__file__).with_name("config.schema.json")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def config_schema() -> dict[str, Any]:
    """The schema as a value."""
    schema: dict[str, Any] = Config.model_json_schema(mode="validation")
    common = _attributes(CameraDefaults.__doc__ or "")  # a camera's keys, inherited
    for section in (schema, *schema["$defs"].values()):
        described = {**common, **_attributes(section.pop("description", ""))}
        for key, field in section["properties"].items():
            _tidy(field)
            if key in described:
                field["description"] = described[key]
    _drop_section_defaults(schema)
    return {"$schema": DIALECT, **schema, "title": "Configuration of vigil run"}


def schema_text() -> str:
    """The schema as the published file holds it."""
    return json.dumps(config_schema(), indent=1, sort_keys=True) + "\n"


def _tidy(field: dict[str, Any]) -> None:
    """Take away what tells of Python, and what does not apply to text with a unit."""
    field.pop("title", None)
    if "pattern" in field and field.get("type") == "string":
        for bound in _NUMERIC:
            field.pop(bound, None)
        if isinstance(field.get("default"), int | float):
            field.pop("default")  # in seconds or bytes: not as one writes it
    if field.get("format") == "path":
        field.pop("format")
    # Names of cameras and zones: nothing but what the pattern allows.
    if "patternProperties" in field:
        field["additionalProperties"] = False
    for part in field.get("anyOf", []):
        _tidy(part)


def _attributes(docstring: str) -> dict[str, str]:
    """Key to description, from the `Attributes:` of a section's docstring."""
    _, _, text = inspect.cleandoc(docstring).partition("Attributes:\n")
    entries = re.split(r"^ {4}(?=\w+: )", text, flags=re.MULTILINE)[1:]
    pairs = (entry.split(": ", 1) for entry in entries)
    return {key: " ".join(words.split()) for key, words in pairs}


def _drop_section_defaults(schema: dict[str, Any]) -> None:
    """`default` of whole sections says nothing that their keys do not say."""
    for section in (schema, *schema["$defs"].values()):
        for field in section["properties"].values():
            if isinstance(field.get("default"), dict | list):
                field.pop("default")
