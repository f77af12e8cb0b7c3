"""Which keys a machine trusts: files and folders of public keys, several at once.

A key is rolled by three steps that never leave a device without a key: put the new public key
beside the old one, sign with the new key, remove the old public key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engines.errors import RefusedError
from engines.signing_keys import PUBLIC_SUFFIX, key_id, read_public_key, require_safe

MAX_KEYS = 32


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys by their id, and where they come from. Without any key nothing is trusted."""

    keys: Mapping[str, Ed25519PublicKey]
    where: str

    def both(self, other: TrustedKeys) -> TrustedKeys:
        """The keys that both trust."""
        common = {name: key for name, key in self.keys.items() if name in other.keys}
        return TrustedKeys(common, f"{self.where} and {other.where}")


def read_trusted(paths: Sequence[Path]) -> TrustedKeys:
    """Read public keys: `.pub` files, or folders of them.

    A folder counts as configured even if it is empty: then nothing is trusted. One bad file in it
    is an error, since nobody should believe in a key that is not in force.

    Raises:
        InputMissingError: A file cannot be read.
        RefusedError: A folder cannot be read, or others may write a file or folder.
        DataError: A file holds no Ed25519 public key.
    """
    files = [file for path in paths for file in _files_of(path)]
    if len(files) > MAX_KEYS:
        raise RefusedError(
            f"{len(files)} trusted keys are too many, at most {MAX_KEYS}",
            where=", ".join(map(str, paths)),
            mend="remove the keys that are no longer used",
        )
    keys = [read_public_key(file) for file in files]
    return TrustedKeys({key_id(key): key for key in keys}, ", ".join(map(str, paths)))


def _files_of(path: Path) -> list[Path]:
    """The file itself, or the keys in a folder."""
    try:
        if not path.is_dir():
            return [path]
        require_safe(path, path.stat())
        return sorted(file for file in path.iterdir() if file.suffix == PUBLIC_SUFFIX)
    except OSError as error:
        raise RefusedError(
            f"the trusted keys cannot be read: {error.strerror}",
            where=str(path),
            mend=f"chmod a+rx {path}",
        ) from error
