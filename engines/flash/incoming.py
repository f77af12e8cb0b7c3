"""Receiving a bundle on the device: manifest and signatures first, then what is missing.

    offer    one line of JSON {"manifest": bytes, "signatures": bytes}, then both
    receive  for each blob one line "SHA256 OFFSET", then the rest of it from there; until the end

Nothing is kept before the signature is checked, nothing is parsed before that but numbers, and no
blob is written beyond the size that the signed manifest states. A broken transfer leaves `.part`
files, which the next one continues; a blob counts only when all of it has its hash, read back.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from engines.bundle_check import Checked, read_signatures
from engines.bundle_files import check_file
from engines.errors import CannotCreateError, DataError, TemporaryError, UsageError
from engines.flash.acceptance import require_acceptable
from engines.flash.disk import Disk, told
from engines.flash.home import Home, digest_of, release_name
from engines.flash.journal import Journal, Last
from engines.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    FileEntry,
    decode_manifest,
)
from engines.release import require_runtime
from engines.signature import MAX_SIGNATURE_BYTES, require_signature
from engines.strict_json import decode_json
from engines.trusted_keys import TrustedKeys

PIECE: Final = 1 << 20
SYNC_EVERY: Final = 32 << 20
SPARE_BYTES: Final = 64 << 20  # what a device needs beside its bundles: journal, logs, outbox
_MAX_LINE = 256


@dataclass(frozen=True)
class Offer:
    """What a device answers to an offer: what it has and wants, and what happened there last."""

    digest: str
    name: str
    signed_by: tuple[str, ...]
    installed: bool
    missing: dict[str, int]
    last: Last | None

    def to_json(self) -> dict[str, object]:
        """For the workstation; `missing` maps hashes to the bytes that are there already."""
        return {
            "digest": self.digest,
            "name": self.name,
            "signed_by": list(self.signed_by),
            "installed": self.installed,
            "missing": self.missing,
            "last": None if self.last is None else self.last.model_dump(mode="json"),
        }


def take_offer(
    stream: BinaryIO,
    *,
    home: Home,
    disk: Disk,
    journal: Journal,
    trusted: TrustedKeys,
    allow_downgrade: bool = False,
) -> Offer:
    """Read manifest and signatures, verify them, and tell what is missing.

    Raises:
        RefusedError: Not signed by a trusted key, or the release number does not rise.
        DataError: No manifest, a newer vigil is needed, or the offer is cut off.
        CannotCreateError: No room.
    """
    manifest_bytes, signature_bytes = _read_offer(stream)
    where = "the offered bundle"
    signatures = signature_bytes or None
    signed_by = require_signature(manifest_bytes, signatures, trusted, where=where)
    manifest = decode_manifest(manifest_bytes, where=where)
    require_runtime(manifest, where=where)
    require_acceptable(manifest, journal, where=where, allow_downgrade=allow_downgrade)
    digest, name = digest_of(manifest), release_name(manifest)
    folder = home.arriving(digest)
    with told(folder):
        for path in (home.incoming, folder):
            disk.make_folder(path, 0o700)
        _forget_others(disk, home, digest)
        for file, data in ((MANIFEST_NAME, manifest_bytes), (SIGNATURE_NAME, signature_bytes)):
            disk.write(folder / file, data)
        _take_over(home, disk, journal, folder, manifest.files)
        missing = {
            entry.sha256: _received(folder, entry)
            for entry in manifest.files
            if not (folder / entry.sha256).exists()
        }
        _require_room(home, manifest.files, missing)
    installed = journal.current == name and journal.trial is None
    return Offer(digest, name, tuple(signed_by), installed, missing, journal.last)


def receive(stream: BinaryIO, *, home: Home, disk: Disk, digest: str, trusted: TrustedKeys) -> None:
    """Take blobs until the stream ends.

    Raises:
        TemporaryError: The stream broke off; what came is kept, offer again and continue.
        DataError: More or other bytes than the manifest states.
        UsageError: Not a blob of this bundle, or another offset than what is there.
    """
    folder = home.arriving(digest)
    entries = {entry.sha256: entry for entry in arrived(home, digest, trusted).manifest.files}
    with told(folder):
        for sha256, offset in _headers(stream):
            entry = entries.get(sha256)
            if entry is None:
                raise UsageError(f"{sha256[:12]}... is no file of this bundle", where=digest)
            _receive_one(stream, disk, folder, entry, offset)
        disk.sync_folder(folder)


def arrived(home: Home, digest: str, trusted: TrustedKeys) -> Checked:
    """Manifest of what is being received, its signature checked again.

    Raises:
        DataError: Nothing was offered under this digest.
        RefusedError: No longer signed by a trusted key.
    """
    folder = home.arriving(digest)
    try:
        data = (folder / MANIFEST_NAME).read_bytes()[: MAX_MANIFEST_BYTES + 1]
    except OSError as error:
        raise DataError(
            "this bundle was not offered, or has been cleared away",
            where=digest,
            mend="flash it again: vigil flash BUNDLE user@device",
        ) from error
    signed_by = require_signature(data, read_signatures(folder), trusted, where=str(folder))
    manifest = decode_manifest(data, where=str(folder))
    if digest_of(manifest) != digest:
        raise DataError("the manifest is not the one that was offered", where=str(folder))
    return Checked(manifest, tuple(signed_by))


def _read_offer(stream: BinaryIO) -> tuple[bytes, bytes]:
    head = stream.readline(_MAX_LINE)
    raw = decode_json(head, what="the offer", where="standard input", integers_only=True)
    sizes = raw if isinstance(raw, dict) else {}
    count, signed = (_size(sizes.get(key)) for key in ("manifest", "signatures"))
    if not 0 < count <= MAX_MANIFEST_BYTES or not 0 <= signed <= MAX_SIGNATURE_BYTES:
        raise DataError("the offer does not begin with two sizes", where="standard input")
    manifest, signatures = _exactly(stream, count), _exactly(stream, signed)
    return manifest, signatures


def _size(raw: object) -> int:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else -1


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise TemporaryError(
            "the offer broke off", where="standard input", mend="flash again: vigil flash"
        )
    return data


def _headers(stream: BinaryIO) -> Iterator[tuple[str, int]]:
    while line := stream.readline(_MAX_LINE):
        name, _, offset = line.decode("ascii", "replace").rstrip("\n").partition(" ")
        if not line.endswith(b"\n") or not offset.isdecimal():
            raise TemporaryError(
                "the transfer broke off", where="standard input", mend="offer and send again"
            )
        yield name, int(offset)


def _receive_one(stream: BinaryIO, disk: Disk, folder: Path, entry: FileEntry, offset: int) -> None:
    done, part = folder / entry.sha256, folder / f"{entry.sha256}.part"
    if done.exists() or offset != _received(folder, entry):
        raise UsageError(
            f"{_received(folder, entry)} bytes of {entry.path} are here, not {offset}",
            where=str(folder),
            mend="offer the bundle again and continue from there",
        )
    left = entry.size - offset
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o600), "ab") as file:
        unsynced = 0
        while left and (piece := stream.read(min(PIECE, left))):
            file.write(piece)
            left -= len(piece)
            unsynced += len(piece)
            if unsynced >= SYNC_EVERY:
                file.flush()
                os.fsync(file.fileno())
                unsynced = 0
    disk.sync(part)
    if left:
        raise TemporaryError(
            f"the transfer of {entry.path} broke off, {entry.size - left} of {entry.size} bytes"
            " are kept",
            where=str(folder),
            mend="offer and send again: it goes on from there",
        )
    if _hash(part) != entry.sha256:
        disk.remove(part)
        kind = TemporaryError if offset else DataError
        raise kind(
            f"{entry.path} arrived with another hash than the manifest states; it was thrown away",
            where=str(folder),
            mend="send it again from its beginning",
        )
    disk.rename(part, done)


def _hash(path: Path) -> str:
    """Hash of what the disk has, not of what the cache remembers."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _received(folder: Path, entry: FileEntry) -> int:
    """Bytes of an unfinished blob that are here; what is too long is no start of it."""
    part = folder / f"{entry.sha256}.part"
    size = part.stat().st_size if part.exists() else 0
    if size > entry.size or (size == entry.size and size):
        part.unlink()  # it was never renamed, so its hash was never right
        return 0
    return size


def _forget_others(disk: Disk, home: Home, digest: str) -> None:
    """One bundle arrives at a time: the parts of others only take room."""
    for path in home.incoming.iterdir():
        if path.name != digest:
            disk.remove_tree(path)


def _take_over(
    home: Home, disk: Disk, journal: Journal, folder: Path, entries: list[FileEntry]
) -> None:
    """Copy what a release on this device has already; most updates change few files."""
    there = {}
    for name in sorted(journal.kept()):
        there.update(_files_of(home.release(name)))
    for entry in entries:
        source = there.get(entry.sha256)
        if source is None or (folder / entry.sha256).exists():
            continue
        root, path = source
        copy = folder / f"{entry.sha256}.copy"
        try:
            check_file(root, entry.model_copy(update={"path": path}))
            disk.copy(root / path, copy)
            if _hash(copy) == entry.sha256:
                disk.sync(copy)
                disk.rename(copy, folder / entry.sha256)
        except (DataError, OSError):
            disk.remove(copy)  # then it is sent, as everything else


def _files_of(root: Path) -> dict[str, tuple[Path, str]]:
    try:
        manifest = decode_manifest((root / MANIFEST_NAME).read_bytes(), where=str(root))
    except (DataError, OSError):
        return {}
    return {entry.sha256: (root, entry.path) for entry in manifest.files}


def _require_room(home: Home, entries: list[FileEntry], missing: dict[str, int]) -> None:
    """What is still to come, and once more all of it beside the old release."""
    total = sum(entry.size for entry in entries)
    still = sum(e.size - missing[e.sha256] for e in entries if e.sha256 in missing)
    wanted = still + total + SPARE_BYTES
    free = shutil.disk_usage(home.root).free
    if free < wanted:
        raise CannotCreateError(
            f"{wanted >> 20} MiB are needed, {free >> 20} MiB are free",
            where=str(home.root),
            mend="make room on the device's disk; nothing was changed",
        )
