"""Which bundles this machine accepts.

Rules: where no keys are configured (a workstation), any whole bundle is accepted. The folder
`/etc/vigil/trusted-keys.d`, if it is there, holds for every command of the machine, even when it is
empty. The configuration's `trusted_keys` holds for that run. Where both are given, a bundle needs a
key that both trust: a configuration can narrow what the machine trusts and never widen it.
"""

from __future__ import annotations

import os
from pathlib import Path

from engines.bundle import Bundle, load_bundle
from engines.errors import RefusedError
from engines.trusted_keys import TrustedKeys, read_trusted

DEVICE_KEYS = Path("/etc/vigil/trusted-keys.d")


def trusted_keys(configured: Path | None = None) -> TrustedKeys | None:
    """The keys that count here; None where none are configured.

    Args:
        configured: A `.pub` file or a folder of them, from the configuration.

    Raises:
        VigilError: The keys cannot be read, or others can change them.
    """
    own = None if configured is None else read_trusted([configured])
    machine = read_trusted([DEVICE_KEYS]) if _there(DEVICE_KEYS) else None
    if own is None or machine is None:
        return machine if own is None else own
    return own.both(machine)


def open_bundle(root: Path, *, configured: Path | None = None) -> Bundle:
    """Load a bundle as this machine trusts it.

    Args:
        root: Folder of the bundle.
        configured: The configuration's `trusted_keys`.

    Raises:
        InputMissingError: There is no such bundle.
        RefusedError: Keys are configured here, and none of them has signed it.
        DataError: It is not whole.
    """
    return load_bundle(root, trusted=trusted_keys(configured))


def _there(folder: Path) -> bool:
    """Whether the folder exists; one that may not be looked at is no excuse to trust all."""
    try:
        os.lstat(folder)  # a dangling link counts as there
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RefusedError(
            f"cannot see whether there are trusted keys: {error.strerror}",
            where=str(folder),
            mend=f"chmod a+rx {folder.parent}",
        ) from error
    return True
