"""`manifest.json`: the list of files of a bundle with their sizes and hashes.

Integers and strings only and one canonical encoding, so that a signature over its bytes is
well-defined; numbers that describe the detector are in `model.json` (`engines.model_spec`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engines.errors import DataError

BUNDLE_SCHEMA = 1
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 256 * 1024
MAX_FILE_BYTES = 1 << 30

Role = Literal["model", "alarm", "network", "head", "statistics", "parity", "record"]


class FileEntry(BaseModel):
    """One file: path inside the bundle, what it is for, size in bytes, SHA-256 in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}(/[a-z0-9][a-z0-9._-]{0,99}){0,3}$")
    ]
    role: Role
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """All files of a bundle. `minimum_runtime` is the oldest vigil version that can run it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["vigil-bundle"] = "vigil-bundle"
    schema_version: int = BUNDLE_SCHEMA
    name: str
    created: str
    minimum_runtime: str
    files: Annotated[list[FileEntry], Field(min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _paths_differ(self) -> Manifest:
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        return self

    def encode(self) -> bytes:
        """Canonical bytes: sorted keys, no spaces, UTF-8, one trailing newline."""
        text = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
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
        DataError: Too large, not JSON, a newer schema, or fields that are wrong; says which.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise DataError(
            f"the manifest has {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are accepted",
            where=where,
        )
    try:
        raw = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the manifest is not JSON: {error}", where=where, mend="copy the bundle again"
        ) from error
    check_schema(raw, known=BUNDLE_SCHEMA, where=where)
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise DataError(
            explain(error), where=where, mend="copy or export the bundle again"
        ) from error


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
        problems.append(f"{key}: {item['msg']}")
    return "; ".join(problems)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result
