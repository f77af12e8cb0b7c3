"""`manifest.json`: the list of files of a bundle with their sizes and hashes.

Integers and strings only and one canonical encoding, so that a signature over its bytes is
well-defined; numbers that describe the detector are in `model.json` (`engines.model_spec`). Bytes
that are not the canonical ones are refused, even where they say the same.

Schema 1 is a bundle as it was exported; schema 2 has a release number, which signing gives.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engines.array_file import MAX_ARRAY_FILE_BYTES
from engines.errors import DataError
from engines.strict_json import decode_json

EXPORTED_SCHEMA: Final = 1
BUNDLE_SCHEMA: Final = 2
MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
MAX_MANIFEST_BYTES = 256 * 1024
MAX_DESCRIPTION_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
MAX_BUNDLE_BYTES = 2 << 30
MAX_RELEASE = 10**15

Role = Literal["model", "alarm", "network", "head", "statistics", "parity", "record"]

_MAX_BYTES: dict[Role, int] = {
    "model": MAX_DESCRIPTION_BYTES,
    "alarm": MAX_DESCRIPTION_BYTES,
    "network": MAX_FILE_BYTES,
    "head": MAX_ARRAY_FILE_BYTES,
    "statistics": MAX_ARRAY_FILE_BYTES,
    "parity": MAX_ARRAY_FILE_BYTES,
    "record": MAX_FILE_BYTES,
}


class FileEntry(BaseModel):
    """One file: path inside the bundle, what it is for, size in bytes, SHA-256 in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}(/[a-z0-9][a-z0-9._-]{0,99}){0,3}$")
    ]
    role: Role
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _is_sensible(self) -> FileEntry:
        if self.path in {MANIFEST_NAME, SIGNATURE_NAME}:
            raise ValueError(f"{self.path} cannot be listed in itself")
        if self.size > _MAX_BYTES[self.role]:
            raise ValueError(
                f"{self.path} has {self.size} bytes, a file of role {self.role} at most"
                f" {_MAX_BYTES[self.role]}"
            )
        return self


class Manifest(BaseModel):
    """All files of a bundle.

    Attributes:
        name: Name of the detector; one printable line.
        created: UTC, as 2026-11-22T08:02:58Z.
        minimum_runtime: The oldest vigil version that can run it, such as 0.1.0.
        release: Rising number that signing gives; None before.
        files: Every file but the manifest and its signatures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["vigil-bundle"] = "vigil-bundle"
    schema_version: Literal[1, 2] = EXPORTED_SCHEMA
    name: Annotated[str, Field(min_length=1, max_length=128)]
    created: Annotated[str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$")]
    minimum_runtime: Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,3}$")]
    release: Annotated[int, Field(ge=1, lt=MAX_RELEASE)] | None = None
    files: Annotated[list[FileEntry], Field(min_length=1, max_length=256)]

    @field_validator("name")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        # It is printed on terminals and in logs; and one name has one spelling.
        if not value.isprintable() or not unicodedata.is_normalized("NFC", value):
            raise ValueError("a name is one printable line in Unicode's normal form C")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        total = sum(entry.size for entry in self.files)
        if total > MAX_BUNDLE_BYTES:
            raise ValueError(f"the files have {total} bytes, a bundle at most {MAX_BUNDLE_BYTES}")
        if (self.release is not None) != (self.schema_version >= 2):
            raise ValueError("schema 2 has a release number, schema 1 has none")
        return self

    def entry(self, path: str) -> FileEntry | None:
        """What the manifest says of a file; None if it does not list it."""
        return next((entry for entry in self.files if entry.path == path), None)

    def encode(self) -> bytes:
        """Canonical bytes: sorted keys, no spaces, UTF-8, one trailing newline."""
        text = json.dumps(
            self.model_dump(mode="json", exclude_none=True),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        return (text + "\n").encode("utf-8")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def decode_manifest(data: bytes, *, where: str) -> Manifest:
    """Parse and check manifest bytes.

    Raises:
        DataError: Too large, not JSON, a newer schema, fields that are wrong, or not canonical.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise DataError(
            f"the manifest has {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are accepted",
            where=where,
        )
    raw = decode_json(data, what="the manifest", where=where, integers_only=True)
    check_schema(raw, known=BUNDLE_SCHEMA, where=where)
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise DataError(
            explain(error), where=where, mend="copy or export the bundle again"
        ) from error
    if manifest.encode() != data:
        raise DataError(
            "the manifest is not written in its one canonical form (sorted keys, no spaces, UTF-8)",
            where=where,
            mend="copy the bundle again; a manifest is never edited by hand",
        )
    return manifest


def check_schema(raw: object, *, known: int, where: str) -> None:
    """Say "newer schema" before any field of it can confuse.

    Raises:
        DataError: `raw` is no object, has no schema version, or a newer one than `known`.
    """
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise DataError("there is no integer schema_version", where=where)
    if version > known:
        raise DataError(
            f"schema_version is {version}, this vigil knows up to {known}",
            where=where,
            mend="install a newer vigil, or export the bundle for this one",
        )


def explain(error: ValidationError) -> str:
    """One line for all problems that pydantic found: `key: message; key: message`."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in item["loc"]) or "top level"
        if not key.isprintable():  # a key from the file must not steer somebody's terminal
            key = ascii(key)
        problems.append(f"{key}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)
