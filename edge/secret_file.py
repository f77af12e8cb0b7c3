"""Passwords from files, as the configuration, the environment and systemd name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engines.errors import InputMissingError

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"


def read_secret(path: Path) -> str:
    """The text of a file, without the end of its line.

    Raises:
        InputMissingError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputMissingError(
            f"the password file cannot be read: {reason}",
            where=str(path),
            mend="create it with mode 0600, owned by the user that runs vigil",
        ) from error


def credential_file(name: str, environment: Mapping[str, str]) -> Path | None:
    """The file of a `LoadCredential=NAME:...`, if the service manager gave one."""
    folder = environment.get(CREDENTIALS_VARIABLE)
    credential = Path(folder) / name if folder else None
    return credential if credential is not None and credential.is_file() else None
