"""The workstation's side of a transfer: a checked bundle, the offer, the blobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from engines.bundle_check import check_bundle, read_signatures
from engines.bundle_files import read_bounded
from engines.errors import RefusedError
from engines.flash.home import digest_of, release_name
from engines.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, FileEntry, Manifest

PIECE: Final = 1 << 18


@dataclass(frozen=True)
class LocalBundle:
    """A signed bundle on the workstation, checked."""

    root: Path
    manifest: Manifest
    manifest_bytes: bytes
    signatures: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of its manifest."""
        return digest_of(self.manifest)

    @property
    def name(self) -> str:
        """Its folder's name on devices."""
        return release_name(self.manifest)


def open_local(root: Path) -> LocalBundle:
    """Check a bundle here first: a damaged one need not travel.

    Raises:
        RefusedError: It is not signed.
        DataError: It is not whole.
        InputMissingError: There is no bundle.
    """
    manifest = check_bundle(root).manifest
    signatures = read_signatures(root)
    if signatures is None:
        raise RefusedError(
            "the bundle is not signed, and devices take only signed ones",
            where=str(root),
            mend=f"vigil bundle sign {root} --key NAME.key",
        )
    data = read_bounded(root, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    return LocalBundle(root, manifest, data, signatures)


def encode_offer(manifest: bytes, signatures: bytes) -> bytes:
    """An offer as `take_offer` reads it."""
    head = json.dumps({"manifest": len(manifest), "signatures": len(signatures)})
    return head.encode() + b"\n" + manifest + signatures


Progress = Callable[[int], None]
"""Told the bytes that were sent."""


def send_blobs(
    stream: BinaryIO,
    root: Path,
    entries: list[FileEntry],
    missing: Mapping[str, int],
    told_of: Progress,
) -> None:
    """The workstation's side of `receive`: write what the device does not have.

    Raises:
        OSError: The connection is gone.
    """
    paths = {entry.sha256: entry.path for entry in entries}
    for sha256, offset in missing.items():
        stream.write(f"{sha256} {offset}\n".encode())
        with (root / paths[sha256]).open("rb") as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                stream.write(piece)
                told_of(len(piece))
    stream.flush()
