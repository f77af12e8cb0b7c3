"""What lies where on a device.

/opt/vigil/
state.json                    the journal
current -> releases/NAME      the bundle that runs; every configuration names this link
releases/NAME/                whole bundles, NAME = release number and digest
incoming/DIGEST/              what is being received
runtime -> runtimes/NAME      the program (a virtual environment), made by provisioning
.lock                         one flash at a time
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.errors import CannotCreateError, TemporaryError, UsageError
from engines.manifest import Manifest

DEFAULT: Final = Path("/opt/vigil")
NAME = re.compile(r"[0-9]{1,15}-[0-9a-f]{12}", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def digest_of(manifest: Manifest) -> str:
    """SHA-256 of the canonical manifest, in hex."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def release_name(manifest: Manifest) -> str:
    """Name of a bundle's folder on a device, as ``20261122101500-0123456789ab``."""
    return f"{manifest.release or 0}-{digest_of(manifest)[:12]}"


@dataclass(frozen=True)
class Home:
    """The folder that holds everything which flashing touches."""

    root: Path = DEFAULT

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.root / "state.json"

    @property
    def current(self) -> Path:
        """The link to the bundle that runs."""
        return self.root / "current"

    @property
    def releases(self) -> Path:
        """Folder of whole bundles."""
        return self.root / "releases"

    @property
    def incoming(self) -> Path:
        """Folder of what is being received."""
        return self.root / "incoming"

    def release(self, name: str) -> Path:
        """Folder of a release."""
        assert NAME.fullmatch(name), name
        return self.releases / name

    def staging(self, name: str) -> Path:
        """Folder in which a release is put together."""
        return self.releases / f".{name}.new"

    def arriving(self, digest: str) -> Path:
        """Folder of a bundle that is being received.

        Raises:
            UsageError: `digest` is no digest.
        """
        if DIGEST.fullmatch(digest) is None:
            raise UsageError("a bundle is named by 64 hex digits", where=digest[:80])
        return self.incoming / digest

    def linked(self) -> str | None:
        """Name of the release that `current` leads to; None: it leads to none."""
        try:
            target = self.current.readlink()
        except OSError:
            return None
        fine = target.parent == Path("releases") and NAME.fullmatch(target.name)
        return target.name if fine else None

    def busy(self) -> bool:
        """Whether a flash, rollback or recovery is at work."""
        try:
            with self.locked():
                return False
        except TemporaryError:
            return True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the device: one flash, rollback or recovery at a time.

        Raises:
            TemporaryError: Another one is at work.
            CannotCreateError: The folder is not there or not ours.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.root / ".lock", flags, 0o600)
        except OSError as error:
            raise CannotCreateError(
                f"this device is not ready for bundles: {error.strerror}",
                where=str(self.root),
                mend="as root; if the folder is not there: vigil provision user@device",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise TemporaryError(
                "another flash is at work on this device",
                where=str(self.root),
                mend="wait for it: vigil status user@device",
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)
