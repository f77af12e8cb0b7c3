"""Files are replaced, never edited: a power cut leaves the old file or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engines.errors import CannotCreateError


def fsync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success it becomes `path`, else it vanishes.

    Order: write, fsync the file, rename over the target, fsync the folder.

    Raises:
        CannotCreateError: The folder cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably.

    Raises:
        CannotCreateError: The folder cannot be written, or the disk is full.
    """
    with replacing(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, durably.

    Raises:
        CannotCreateError: The folder cannot be written, or the disk is full.
    """
    write_bytes(path, text.encode("utf-8"))


def _cannot_write(path: Path, error: OSError) -> CannotCreateError:
    return CannotCreateError(
        f"cannot write {path.name}: {error.strerror or error}",
        where=str(path),
        mend="check that the folder exists, is writable and has free space",
    )
