"""Ed25519 key pairs in files: `NAME.key` (private, mode 0600) and `NAME.pub`, both PEM.

The formats are those of OpenSSL (PKCS #8 and SubjectPublicKeyInfo, RFC 8410), so that other tools
can read them. A private key is never printed, logged or taken from a command line.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from engines.atomic import fsync_folder
from engines.errors import CannotCreateError, DataError, InputMissingError, RefusedError, UsageError

PRIVATE_SUFFIX = ".key"
PUBLIC_SUFFIX = ".pub"
_MAX_BYTES = 8 * 1024


@dataclass(frozen=True)
class KeyFiles:
    """A pair that was written: the two files, and the key's id."""

    private: Path
    public: Path
    key_id: str


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a key: the first 16 hex digits of the SHA-256 of its 32 raw bytes."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def create_key_pair(name: Path, *, passphrase: bytes | None = None) -> KeyFiles:
    """Make a key pair; nothing that is there already is overwritten.

    Args:
        name: Path without ending; `.key` and `.pub` are added.
        passphrase: Encrypts the private key; None: only its file mode protects it.

    Raises:
        CannotCreateError: One of the files exists, or the folder cannot be written.
    """
    private = name.with_name(name.name + PRIVATE_SUFFIX)
    public = name.with_name(name.name + PUBLIC_SUFFIX)
    for path in (private, public):
        if os.path.lexists(path):
            raise CannotCreateError(
                f"{path.name} exists already and is not overwritten",
                where=str(path),
                mend="choose another name; a key is replaced by a new one beside it",
            )
    key = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    _create(private, pem, mode=0o600)
    _create(public, public_pem(key.public_key()), mode=0o644)
    return KeyFiles(private, public, key_id(key.public_key()))


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def read_private_key(path: Path, *, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key that nobody else can read.

    Args:
        path: The `.key` file.
        passphrase: Of an encrypted key.

    Raises:
        InputMissingError: It cannot be read.
        RefusedError: It belongs to somebody else, or others may read or write it.
        DataError: It holds no Ed25519 private key, or the passphrase is wrong.
        UsageError: It is encrypted and no passphrase was given.
    """
    data, status = _read(path)
    loose = stat.S_IMODE(status.st_mode) & 0o077
    if loose:
        raise RefusedError(
            f"the private key is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            where=str(path),
            mend=f"chmod 600 {path}; if others may have read it, make a new key",
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise RefusedError(
            "the private key belongs to another user",
            where=str(path),
            mend="use a key of your own, or become its owner",
        )
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in data:
        passphrase = None
    elif passphrase is None:
        raise UsageError(
            "the private key is protected by a passphrase",
            where=str(path),
            mend="type it when asked, or name a file that holds it: VIGIL_KEY_PASSPHRASE_FILE",
        )
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not chained: whatever a library says about a private key stays unsaid.
        raise _no_key(path, "private", encrypted=passphrase is not None) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key that only its owner (this user or root) can exchange.

    Raises:
        InputMissingError: It cannot be read.
        RefusedError: Others may write it.
        DataError: It holds no Ed25519 public key.
    """
    data, status = _read(path)
    require_safe(path, status)
    if b"PRIVATE KEY" in data:
        raise DataError(
            "this is a private key; what is trusted is the public one",
            where=str(path),
            mend=f"give the {PUBLIC_SUFFIX} file, and never copy the private key to a device",
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "public") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public")
    return key


def require_safe(path: Path, status: os.stat_result) -> None:
    """See that only this user or root can change what decides about trust.

    Raises:
        RefusedError: Somebody else can.
    """
    if status.st_uid not in {0, os.geteuid()}:
        raise RefusedError(
            "what is trusted here belongs to another user",
            where=str(path),
            mend=f"chown root {path}",
        )
    if status.st_mode & 0o022:
        raise RefusedError(
            "what is trusted here can be changed by others"
            f" (mode {stat.S_IMODE(status.st_mode):04o})",
            where=str(path),
            mend=f"chmod go-w {path}",
        )


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DataError("this key is not a regular file", where=str(path))
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputMissingError(
            f"the key cannot be read: {error.strerror}",
            where=str(path),
            mend="give a key file; `vigil keys new NAME` makes a pair",
        ) from error
    if len(data) > _MAX_BYTES:
        raise DataError(f"a key file has at most {_MAX_BYTES} bytes", where=str(path))
    return data, status


def _create(path: Path, data: bytes, *, mode: int) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, mode)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        fsync_folder(path.parent)
    except OSError as error:
        raise CannotCreateError(
            f"cannot write {path.name}: {error.strerror}",
            where=str(path),
            mend="check that the folder exists and is writable",
        ) from error


def _no_key(path: Path, kind: str, *, encrypted: bool = False) -> DataError:
    wrong = " or the passphrase is wrong" if encrypted else ""
    return DataError(
        f"this is no Ed25519 {kind} key in PEM{wrong}",
        where=str(path),
        mend="`vigil keys new NAME` makes a pair",
    )
