"""`manifest.sig`: Ed25519 signatures over the bytes of `manifest.json`.

    vigil-signatures-v1
    ed25519 <key id, 16 hex digits> <signature, 64 bytes in base64>

Signed is `vigil-bundle-v1`, a newline and the manifest, so that a signature made for something else
can never be one over a bundle. Several lines mean several keys: any trusted one is enough, and a
line by a trusted key that does not fit is a refusal. Nothing of the manifest is parsed before.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.errors import DataError, RefusedError
from engines.signing_keys import key_id
from engines.trusted_keys import TrustedKeys

DOMAIN: Final = b"vigil-bundle-v1\n"
MAX_SIGNATURE_BYTES = 4096
MAX_SIGNATURES = 16

_HEADER = b"vigil-signatures-v1\n"
_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([A-Za-z0-9+/]{86}==)")


def sign(manifest: bytes, key: Ed25519PrivateKey) -> tuple[str, bytes]:
    """Key id and signature (64 bytes) over a manifest."""
    return key_id(key.public_key()), key.sign(DOMAIN + manifest)


def encode_signatures(signatures: Mapping[str, bytes]) -> bytes:
    """Content of `manifest.sig`; `signatures` maps key ids to signatures."""
    lines = [
        f"ed25519 {name} {base64.b64encode(signatures[name]).decode('ascii')}\n"
        for name in sorted(signatures)
    ]
    return _HEADER + "".join(lines).encode("ascii")


def decode_signatures(data: bytes, *, where: str) -> dict[str, bytes]:
    """Signatures by key id; not checked yet.

    Raises:
        DataError: Not exactly the format that `encode_signatures` writes.
    """
    signatures: dict[str, bytes] = {}
    body = data.removeprefix(_HEADER)
    lines = body.split(b"\n")
    fine = len(body) < len(data) <= MAX_SIGNATURE_BYTES and 1 < len(lines) <= MAX_SIGNATURES + 1
    if fine:
        for line in lines[:-1]:
            if (found := _LINE.fullmatch(line)) is not None:
                signatures[found[1].decode("ascii")] = base64.b64decode(found[2], validate=True)
    # Encoding again catches a key that stands twice, another order, and spare bits in base64.
    if not fine or encode_signatures(signatures) != data:
        raise DataError(
            "this is no list of signatures",
            where=where,
            mend="copy the bundle again, or sign it again: vigil bundle sign",
        )
    return signatures


def require_signature(
    manifest: bytes, signatures: bytes | None, trusted: TrustedKeys, *, where: str
) -> list[str]:
    """See that a trusted key has signed exactly these bytes.

    Args:
        manifest: Bytes of `manifest.json`.
        signatures: Bytes of `manifest.sig`; None if there is none.
        trusted: The keys that count.
        where: The bundle, for messages.

    Returns:
        Ids of the trusted keys that have signed.

    Raises:
        RefusedError: No key is trusted, nothing is signed, another key signed, or a signature does
            not fit the manifest.
        DataError: The signatures are not in their format.
    """
    if not trusted.keys:
        raise RefusedError(
            f"no key is trusted here ({trusted.where}), so no bundle can be accepted",
            where=where,
            mend="put the public key (NAME.pub) there",
        )
    if signatures is None:
        raise RefusedError(
            "the bundle is not signed, and only signed ones are accepted here",
            where=where,
            mend="sign it where it was made: vigil bundle sign BUNDLE --key NAME.key",
        )
    found = decode_signatures(signatures, where=where)
    known = [name for name in found if name in trusted.keys]
    if not known:
        raise RefusedError(
            f"the bundle is signed by {', '.join(found)}; trusted are {', '.join(trusted.keys)}"
            f" ({trusted.where})",
            where=where,
            mend="sign it with a key that is trusted, or put that key's NAME.pub there",
        )
    for name in known:
        try:
            trusted.keys[name].verify(found[name], DOMAIN + manifest)
        except InvalidSignature:
            raise RefusedError(
                f"the signature of key {name} does not fit: the manifest was changed after signing",
                where=where,
                mend="copy the bundle again from where it was signed; if that does not help,"
                " do not trust this copy",
            ) from None
    return known
