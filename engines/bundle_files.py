"""The files of a bundle, opened so that nothing outside its folder can be reached, and checked.

Rules: only regular files, no symbolic link on the way to them, nothing read beyond the size that
the manifest states; content counts only when size and hash are as stated. Hashing takes constant
memory. What is parsed later is read and hashed again in the same pass, so that a file that was
swapped after the first check is found.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engines.errors import DataError
from engines.manifest import MANIFEST_NAME, SIGNATURE_NAME, FileEntry, Manifest

_PIECE = 1 << 20
_MEND = "copy the bundle again from where it was made"
# A FIFO or a device must not make the reader wait, and nothing may become our terminal.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_bounded(root: Path, name: str, limit: int) -> bytes:
    """Read at most `limit` + 1 bytes of a regular file inside `root`.

    Raises:
        DataError: It is missing, not a regular file, or cannot be read.
    """
    with _opened(root, name) as stream:
        return stream.read(limit + 1)


def check_file(root: Path, entry: FileEntry, *, alone: bool = False) -> None:
    """See that a file is exactly as the manifest states; constant memory.

    Args:
        root: Folder of the bundle.
        entry: What the manifest states.
        alone: Refuse a file that has a second name (a hard link) somewhere else.

    Raises:
        DataError: It is missing, not a regular file, or has another size or hash.
    """
    for _ in _checked(root, entry, alone=alone):
        pass


def read_file(root: Path, entry: FileEntry) -> bytes:
    """Content of a file, exactly as the manifest states it.

    Raises:
        DataError: It is missing, not a regular file, or has another size or hash.
    """
    return b"".join(_checked(root, entry, alone=False))


def refuse_unlisted(root: Path, manifest: Manifest) -> None:
    """See that the folder holds the files of the manifest and nothing else.

    Raises:
        DataError: There is a file, folder or link that the manifest does not list.
    """
    files = {entry.path for entry in manifest.files} | {MANIFEST_NAME, SIGNATURE_NAME}
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = [
                    (f"{folder}/{item.name}" if folder else item.name, item) for item in entries
                ]
        except OSError as error:
            raise _unreadable(root, folder or "the folder", error) from error
        for name, item in found:
            if name in folders and item.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif name not in files:
                raise DataError(
                    f"the bundle holds {name!r}, which the manifest does not list",
                    where=str(root),
                    mend="remove it, or copy the bundle again into an empty folder",
                )


@contextlib.contextmanager
def _opened(root: Path, name: str) -> Iterator[BinaryIO]:
    """Open `name` step by step, so that no link can lead out of `root`."""
    *folders, last = name.split("/")
    with contextlib.ExitStack() as stack:
        try:
            # `root` itself may be a link: `current` is one.
            here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, here)
            for folder in folders:
                here = os.open(folder, _FOLDER, dir_fd=here)
                stack.callback(os.close, here)
            descriptor = os.open(last, _READ, dir_fd=here)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EPERM}:
                raise _unreadable(root, name, error) from error
            raise _not_regular(root, name) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_regular(root, name)
        stream = stack.enter_context(os.fdopen(descriptor, "rb"))
        try:
            yield stream
        except OSError as error:  # a failing disk, for one
            raise _unreadable(root, name, error) from error


def _unreadable(root: Path, name: str, error: OSError) -> DataError:
    return DataError(
        f"{name} cannot be read: {error.strerror}",
        where=str(root),
        mend="give this user the right to read the bundle; else the disk may be failing: dmesg",
    )


def _not_regular(root: Path, name: str) -> DataError:
    return DataError(f"{name} is missing or not a regular file", where=str(root), mend=_MEND)


def _checked(root: Path, entry: FileEntry, *, alone: bool) -> Iterator[bytes]:
    """The content in pieces; complains at the end if it is not as stated, before it if it can."""
    with _opened(root, entry.path) as stream:
        status = os.fstat(stream.fileno())
        _require_size(root, entry, status.st_size)
        if alone and status.st_nlink != 1:
            raise DataError(
                f"{entry.path} has {status.st_nlink} names (hard links), so it can be changed from"
                " outside the bundle",
                where=str(root),
                mend="copy the bundle with `cp -r`, not with `cp -l`",
            )
        digest = hashlib.sha256()
        left = entry.size + 1
        while left and (piece := stream.read(min(_PIECE, left))):
            left -= len(piece)
            digest.update(piece)
            yield piece
    _require_size(root, entry, entry.size + 1 - left)
    found = digest.hexdigest()
    if found != entry.sha256:
        raise DataError(
            f"{entry.path} has hash {found[:12]}..., the manifest says {entry.sha256[:12]}...",
            where=str(root),
            mend=_MEND,
        )


def _require_size(root: Path, entry: FileEntry, size: int) -> None:
    if size != entry.size:
        raise DataError(
            f"{entry.path} has {size} bytes, the manifest says {entry.size}",
            where=str(root),
            mend=_MEND,
        )
