"""Durable steps on a file system, one method each, so that a test can cut the power between them.

Rules: content is made durable before a name leads to it; a name is changed by one rename; the
folder of every changed name is synced before anything relies on it. Nothing here decides anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engines.atomic import fsync_folder
from engines.errors import CannotCreateError

FOLDER_MODE = 0o755
FILE_MODE = 0o644


class Disk:
    """The primitive steps. `write` and `copy` alone promise nothing: `sync` does."""

    def make_folder(self, path: Path, mode: int = FOLDER_MODE) -> None:
        """Make a folder; one that is there keeps what it holds."""
        path.mkdir(exist_ok=True)
        path.chmod(mode)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file, new or over what was there."""
        path.write_bytes(data)
        path.chmod(FILE_MODE)

    def copy(self, source: Path, path: Path) -> None:
        """Copy the content of a file."""
        shutil.copyfile(source, path)
        path.chmod(FILE_MODE)

    def sync(self, path: Path) -> None:
        """Make the content of a file durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        fsync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file, folder or link another name, over what has it."""
        old.replace(new)

    def link(self, path: Path, target: str) -> None:
        """Make a symbolic link."""
        path.symlink_to(target)

    def remove(self, path: Path) -> None:
        """Remove a file or link; none there is fine."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that is in it; none there is fine."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Replace a file: write beside it, sync, rename over it, sync the folder."""
    beside = path.with_name(f".{path.name}.new")
    disk.write(beside, data)
    disk.sync(beside)
    disk.rename(beside, path)
    disk.sync_folder(path.parent)


def point(disk: Disk, path: Path, target: str) -> None:
    """Let the link `path` lead to `target`: a new link renamed over the old one."""
    beside = path.with_name(f".{path.name}.new")
    disk.remove(beside)
    disk.link(beside, target)
    disk.rename(beside, path)
    disk.sync_folder(path.parent)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn a failing disk into an error that says what to do.

    Raises:
        CannotCreateError: Anything that the operating system refuses.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise CannotCreateError(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or path),
            mend="make room on the device's disk"
            if full
            else "is this run as root, and is the disk writable and healthy (dmesg)?",
        ) from error
