"""A bundle on disk: a folder with `manifest.json` and the files it lists.

Rules, in this order: the manifest is read and checked; every listed file must be a regular file of
the stated size and hash; only then is any of them parsed. Nothing in a bundle is ever unpickled.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from engines.atomic import write_bytes
from engines.errors import CannotCreateError, DataError, InputMissingError
from engines.manifest import (
    BUNDLE_SCHEMA,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Role,
    check_schema,
    decode_manifest,
    explain,
    sha256_of,
)
from engines.model_spec import MODEL_SCHEMA, AlarmSpec, ModelSpec

MODEL_NAME = "model.json"
ALARM_NAME = "alarm.json"
MINIMUM_RUNTIME = "0.1.0"

# What numpy and zipfile raise for a damaged archive; RuntimeError: it says it is encrypted.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)

Arrays = dict[str, NDArray[np.generic]]
Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `alarm` is None until a threshold has been calibrated."""

    root: Path
    manifest: Manifest
    model: ModelSpec
    alarm: AlarmSpec | None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical manifest, in hex: names exactly this content."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    def path(self, name: str) -> Path:
        """Path of a listed file.

        Raises:
            DataError: `name` is not listed in the manifest.
        """
        if all(entry.path != name for entry in self.manifest.files):
            raise DataError(
                f"{MODEL_NAME} names {name}, which the manifest does not list",
                where=str(self.root),
                mend="export the bundle again",
            )
        return self.root / name

    def arrays(self, name: str) -> Arrays:
        """Arrays of a listed .npz file, all of them finite.

        Raises:
            DataError: Not an .npz of plain arrays, or a NaN or infinity in it.
        """
        return read_arrays(self.path(name))


def read_arrays(path: Path) -> Arrays:
    """Read an .npz without pickle and refuse NaN and infinity.

    Raises:
        DataError: Not an .npz of plain arrays, or a NaN or infinity in it.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except _UNREADABLE as error:
        raise DataError(
            f"{path.name} is not a readable .npz file: {error}",
            where=str(path),
            mend="export the bundle again",
        ) from error
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise DataError(
                f"array {key!r} of {path.name} holds {bad} value(s) that are NaN or infinite",
                where=str(path),
                mend="the bundle was made from a failed training; train and export again",
            )
    return arrays


def encode_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The bytes of an .npz with these arrays (compressed; the same arrays give the same bytes)."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{key: np.asarray(arrays[key]) for key in sorted(arrays)})  # type: ignore[arg-type]  # numpy's stub takes the keyword for its own flag
    return stream.getvalue()


def load_bundle(root: Path) -> Bundle:
    """Verify every file of the bundle in `root`, then parse its description.

    Raises:
        InputMissingError: No such folder, or no manifest in it.
        DataError: A file is missing, has another size or hash, or does not parse.
    """
    if not root.is_dir():
        raise InputMissingError(
            "there is no such bundle folder", where=str(root), mend="give the folder of a bundle"
        )
    manifest_path = root / MANIFEST_NAME
    if not manifest_path.is_file():
        raise InputMissingError(
            f"this folder is not a bundle: it has no {MANIFEST_NAME}",
            where=str(root),
            mend="give the folder that `vigil train` wrote as .../bundle",
        )
    with manifest_path.open("rb") as stream:
        data = stream.read(MAX_MANIFEST_BYTES + 1)
    manifest = decode_manifest(data, where=str(manifest_path))
    for entry in manifest.files:
        _verify(root, entry)
    model = _parse(root / MODEL_NAME, ModelSpec, manifest)
    alarm = None
    if any(entry.path == ALARM_NAME for entry in manifest.files):
        alarm = _parse(root / ALARM_NAME, AlarmSpec, manifest)
    return Bundle(root=root, manifest=manifest, model=model, alarm=alarm)


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
        schema_version=BUNDLE_SCHEMA,
        name=name,
        created=created,
        minimum_runtime=MINIMUM_RUNTIME,
        files=entries,
    )
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


def _verify(root: Path, entry: FileEntry) -> None:
    path = root / entry.path
    mend = "copy the bundle again from where it was made"
    if path.is_symlink() or not path.is_file():
        raise DataError(
            f"{entry.path} is missing or not a regular file", where=str(root), mend=mend
        )
    size = path.stat().st_size
    if size != entry.size:
        raise DataError(
            f"{entry.path} has {size} bytes, the manifest says {entry.size}",
            where=str(root),
            mend=mend,
        )
    found = sha256_of(path)
    if found != entry.sha256:
        raise DataError(
            f"{entry.path} has hash {found[:12]}..., the manifest says {entry.sha256[:12]}...",
            where=str(root),
            mend=mend,
        )


def _parse(path: Path, kind: type[Parsed], manifest: Manifest) -> Parsed:
    if all(entry.path != path.name for entry in manifest.files):
        raise DataError(f"the manifest does not list {path.name}", where=str(path.parent))
    try:
        raw = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path.name} is not JSON: {error}", where=str(path)) from error
    if kind is ModelSpec:
        check_schema(raw, known=MODEL_SCHEMA, where=str(path))
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise DataError(explain(error), where=str(path), mend="export the bundle again") from error
