"""A bundle on disk: a folder with `manifest.json` and the files it lists.

Everything is checked before it is parsed (`engines.bundle_check`): the signature where keys are
trusted, the manifest, then every file's size and hash. Nothing in a bundle is ever unpickled.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from engines.array_file import Arrays, decode_arrays, encode_arrays, read_arrays
from engines.atomic import write_bytes
from engines.bundle_check import check_bundle
from engines.bundle_files import read_file
from engines.errors import CannotCreateError, DataError
from engines.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
    Role,
    check_schema,
    explain,
    sha256_of,
)
from engines.model_spec import MODEL_SCHEMA, AlarmSpec, ModelSpec
from engines.strict_json import decode_json
from engines.trusted_keys import TrustedKeys

__all__ = [
    "ALARM_NAME",
    "MODEL_NAME",
    "Arrays",
    "Bundle",
    "BundleFile",
    "decode_description",
    "encode_arrays",
    "load_bundle",
    "read_arrays",
    "replace_alarm",
    "update_bundle",
    "write_bundle",
]

MODEL_NAME = "model.json"
ALARM_NAME = "alarm.json"
MINIMUM_RUNTIME = "0.1.0"

Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        root: Its folder.
        manifest: What it lists.
        model: The detector.
        alarm: When a score is an alarm; None until a threshold has been calibrated.
        signed_by: Ids of the trusted keys that have signed it; empty where none was asked for.
    """

    root: Path
    manifest: Manifest
    model: ModelSpec
    alarm: AlarmSpec | None
    signed_by: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical manifest, in hex: names exactly this content."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    def path(self, name: str) -> Path:
        """Path of a listed file.

        Raises:
            DataError: `name` is not listed in the manifest.
        """
        self._entry(name)
        return self.root / name

    def arrays(self, name: str) -> Arrays:
        """Arrays of a listed .npz file, all of them finite.

        The file is read once and hashed again: what is parsed is what the manifest states.

        Raises:
            DataError: Changed on the disk, not an .npz of plain arrays, or a NaN or infinity in it.
        """
        return decode_arrays(read_file(self.root, self._entry(name)), where=str(self.root / name))

    def _entry(self, name: str) -> FileEntry:
        entry = self.manifest.entry(name)
        if entry is None:
            raise DataError(
                f"{MODEL_NAME} names {name!r}, which the manifest does not list",
                where=str(self.root),
                mend="export the bundle again",
            )
        return entry


def load_bundle(root: Path, *, trusted: TrustedKeys | None = None) -> Bundle:
    """Verify every file of the bundle in `root`, then parse its description.

    Args:
        root: Folder of the bundle.
        trusted: Only a bundle that one of these keys has signed is accepted; None: any whole one.

    Raises:
        InputMissingError: No such folder, or no manifest in it.
        RefusedError: Not signed by a trusted key, or changed after signing.
        DataError: A file is missing, has another size or hash, or does not parse.
    """
    checked = check_bundle(root, trusted=trusted)
    model = _parse(root, MODEL_NAME, ModelSpec, checked.manifest)
    alarm = None
    if checked.manifest.entry(ALARM_NAME) is not None:
        alarm = _parse(root, ALARM_NAME, AlarmSpec, checked.manifest)
    return Bundle(
        root=root,
        manifest=checked.manifest,
        model=model,
        alarm=alarm,
        signed_by=checked.signed_by,
    )


@dataclass(frozen=True)
class BundleFile:
    """A file to be written into a bundle."""

    path: str
    role: Role
    data: bytes


def write_bundle(
    root: Path, *, model: ModelSpec, alarm: AlarmSpec | None, files: list[BundleFile]
) -> Bundle:
    """Write a bundle folder and load it back; an older bundle in `root` is replaced.

    The manifest is written last, so a half-written folder is never taken for a bundle.

    Raises:
        CannotCreateError: `root` holds something that is not a bundle, or cannot be written.
    """
    _clear(root)
    contents = [BundleFile(MODEL_NAME, "model", _encode(model)), *files]
    if alarm is not None:
        contents.append(BundleFile(ALARM_NAME, "alarm", _encode(alarm)))
    for item in contents:
        write_bytes(root / item.path, item.data)
    _write_manifest(root, name=model.name, contents=[(item.path, item.role) for item in contents])
    return load_bundle(root)


def replace_alarm(bundle: Bundle, alarm: AlarmSpec) -> Bundle:
    """Write a new `alarm.json` and the manifest that belongs to it.

    Raises:
        CannotCreateError: The bundle cannot be written.
    """
    write_bytes(bundle.root / ALARM_NAME, _encode(alarm))
    contents = [
        (entry.path, entry.role) for entry in bundle.manifest.files if entry.path != ALARM_NAME
    ]
    contents.append((ALARM_NAME, "alarm"))
    _write_manifest(bundle.root, name=bundle.model.name, contents=contents)
    return load_bundle(bundle.root)


def update_bundle(bundle: Bundle, model: ModelSpec, files: list[BundleFile]) -> Bundle:
    """Write a changed `model.json` and some more files, and the manifest that belongs to them.

    The manifest is written last: broken off before that, the bundle is refused by its hashes and
    the same call mends it.

    Raises:
        CannotCreateError: The bundle cannot be written.
    """
    changed = [BundleFile(MODEL_NAME, "model", _encode(model)), *files]
    for item in changed:
        write_bytes(bundle.root / item.path, item.data)
    contents = {entry.path: entry.role for entry in bundle.manifest.files}
    contents |= {item.path: item.role for item in changed}
    _write_manifest(bundle.root, name=model.name, contents=list(contents.items()))
    return load_bundle(bundle.root)


def _encode(model: BaseModel) -> bytes:
    return (json.dumps(model.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def _write_manifest(root: Path, *, name: str, contents: list[tuple[str, Role]]) -> None:
    entries = [
        FileEntry(
            path=path,
            role=role,
            size=(root / path).stat().st_size,
            sha256=sha256_of(root / path),
        )
        for path, role in sorted(contents)
    ]
    created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = Manifest(
        name=name,
        created=created,
        minimum_runtime=MINIMUM_RUNTIME,
        files=entries,
    )
    # It was over the old content, and so was the release number.
    (root / SIGNATURE_NAME).unlink(missing_ok=True)
    write_bytes(root / MANIFEST_NAME, manifest.encode())


def _clear(root: Path) -> None:
    if not root.exists():
        return
    if not (root / MANIFEST_NAME).is_file() and any(root.iterdir()):
        raise CannotCreateError(
            "the folder is not empty and not a bundle, so it is left alone",
            where=str(root),
            mend="choose another folder, or empty it yourself",
        )
    (root / MANIFEST_NAME).unlink(missing_ok=True)
    for child in root.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _parse(root: Path, name: str, kind: type[Parsed], manifest: Manifest) -> Parsed:
    entry = manifest.entry(name)
    if entry is None:
        raise DataError(f"the manifest does not list {name}", where=str(root))
    return decode_description(read_file(root, entry), kind, where=str(root / name))


def decode_description(data: bytes, kind: type[Parsed], *, where: str) -> Parsed:
    """Parse the bytes of `model.json` or `alarm.json`.

    Raises:
        DataError: Not JSON, of a newer schema, or with fields that are wrong.
    """
    raw = decode_json(data, what=where.rpartition("/")[2], where=where)
    if kind is ModelSpec:
        check_schema(raw, known=MODEL_SCHEMA, where=where)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise DataError(explain(error), where=where, mend="export the bundle again") from error
