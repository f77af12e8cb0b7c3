"""Signing a bundle: it gets a release number and a signature over its manifest.

Signing again with a second key keeps the first signature, so that a fleet whose devices do not yet
trust the new key, and one that no longer trusts the old one, take the same bundle.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.atomic import write_bytes
from engines.bundle import load_bundle
from engines.bundle_check import read_signatures
from engines.bundle_files import refuse_unlisted
from engines.errors import DataError, UsageError
from engines.manifest import (
    BUNDLE_SCHEMA,
    MANIFEST_NAME,
    MAX_RELEASE,
    SIGNATURE_NAME,
    Manifest,
)
from engines.release import release_now
from engines.signature import MAX_SIGNATURES, decode_signatures, encode_signatures, sign


def sign_bundle(root: Path, key: Ed25519PrivateKey, *, release: int | None = None) -> Manifest:
    """Sign the bundle in `root`; only a whole one that loads is signed.

    Args:
        root: Folder of the bundle.
        key: Private key.
        release: Its release number; if not given, the one that it has, else the present time
            (UTC, as YYYYMMDDhhmmss). Another number than it has drops the signatures it has.

    Returns:
        The manifest that was signed.

    Raises:
        UsageError: The release number is out of range.
        DataError: The bundle is not whole, or holds files that its manifest does not list.
        CannotCreateError: The bundle cannot be written.
    """
    old = load_bundle(root).manifest
    refuse_unlisted(root, old)
    if release is not None and not 1 <= release < MAX_RELEASE:
        raise UsageError(f"a release number is 1 to {MAX_RELEASE - 1}, not {release}")
    number = release or old.release or release_now()
    manifest = old.model_copy(update={"schema_version": BUNDLE_SCHEMA, "release": number})
    signatures: dict[str, bytes] = {}
    if manifest == old:
        data = read_signatures(root)
        signatures = {} if data is None else decode_signatures(data, where=str(root))
    else:
        # First: broken off here, the bundle is unsigned, never wrongly signed.
        (root / SIGNATURE_NAME).unlink(missing_ok=True)
        write_bytes(root / MANIFEST_NAME, manifest.encode())
    name, signature = sign(manifest.encode(), key)
    signatures[name] = signature
    if len(signatures) > MAX_SIGNATURES:
        raise DataError(
            f"the bundle has {MAX_SIGNATURES} signatures already",
            where=str(root),
            mend="give it a new --release, which drops the old signatures",
        )
    write_bytes(root / SIGNATURE_NAME, encode_signatures(signatures))
    return manifest
