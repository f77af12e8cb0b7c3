"""Whether a bundle may be used: signature first, then the manifest, then every file.

Nothing is parsed before what vouches for it has been checked: the signature is over raw bytes, the
manifest is parsed only when it is signed (where keys are trusted), and the files are parsed by
`engines.bundle` only when all of them have the size and hash that the manifest states.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.bundle_files import check_file, read_bounded, refuse_unlisted
from engines.errors import InputMissingError
from engines.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    Manifest,
    decode_manifest,
)
from engines.release import require_runtime
from engines.signature import MAX_SIGNATURE_BYTES, require_signature
from engines.trusted_keys import TrustedKeys


@dataclass(frozen=True)
class Checked:
    """A manifest whose files are all as it states; `signed_by` has the trusted keys' ids."""

    manifest: Manifest
    signed_by: tuple[str, ...]


def check_bundle(root: Path, *, trusted: TrustedKeys | None = None) -> Checked:
    """Check all of a bundle and parse nothing but its manifest.

    Args:
        root: Folder of the bundle.
        trusted: With these keys, only a bundle that one of them has signed is accepted; then it
            may hold no file that the manifest does not list, and no hard links. None: integrity
            alone is checked.

    Raises:
        InputMissingError: No such folder, or no manifest in it.
        RefusedError: Not signed by a trusted key, or changed after signing.
        DataError: A file is missing, unlisted, a link, or has another size or hash; or the bundle
            is for a newer vigil.
    """
    checked = read_manifest(root, trusted=trusted)
    require_runtime(checked.manifest, where=str(root))
    if trusted is not None:
        refuse_unlisted(root, checked.manifest)
    for entry in checked.manifest.files:
        check_file(root, entry, alone=trusted is not None)
    return checked


def read_manifest(root: Path, *, trusted: TrustedKeys | None = None) -> Checked:
    """The manifest of a bundle and who signed it; no other file is looked at.

    Raises:
        InputMissingError: No such folder, or no manifest in it.
        RefusedError: Not signed by a trusted key, or changed after signing.
        DataError: The manifest is no manifest.
    """
    path = root / MANIFEST_NAME
    try:
        is_folder, is_bundle = root.is_dir(), path.is_file()
    except OSError as error:
        raise InputMissingError(
            f"the bundle cannot be looked at: {error.strerror}",
            where=str(root),
            mend="give this user the right to read it",
        ) from error
    if not is_folder:
        raise InputMissingError(
            "there is no such bundle folder", where=str(root), mend="give the folder of a bundle"
        )
    if not is_bundle:
        raise InputMissingError(
            f"this folder is not a bundle: it has no {MANIFEST_NAME}",
            where=str(root),
            mend="give the folder that `vigil train` wrote as .../bundle",
        )
    data = read_bounded(root, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    signed_by: list[str] = []
    if trusted is not None:
        signed_by = require_signature(data, read_signatures(root), trusted, where=str(root))
    return Checked(decode_manifest(data, where=str(path)), tuple(signed_by))


def read_signatures(root: Path) -> bytes | None:
    """Bytes of `manifest.sig`, at most one more than are accepted; None if there is no such file.

    Raises:
        DataError: It is not a regular file, or cannot be read.
    """
    try:
        (root / SIGNATURE_NAME).lstat()
    except FileNotFoundError:
        return None
    return read_bounded(root, SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
