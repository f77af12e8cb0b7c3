"""Training patches on disk: one .npy of uint8 and a description; read in pieces, never whole.

Plain positioned reads are used instead of a memory map: the memory a training takes is then the
batch it works on, whatever the size of the store, and a limit on memory is kept, not met by luck.
A store exists only when its description does; the description is written last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from engines.atomic import write_text
from engines.errors import CannotCreateError, DataError

CHANNELS = 3
DATA_NAME = "patches.npy"
DESCRIPTION_NAME = "store.json"
# .npy headers are padded to this many bytes, so that the count can be written after the patches.
_HEADER_BYTES = 128
# Memory that one read of an epoch may take.
_READ_BYTES = 8 << 20


def encode_patches(patches: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float32 N x C x side x side in [0, 1] -> uint8 N x side x side x C, rounded to nearest."""
    scaled = np.rint(np.clip(patches, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
    return np.ascontiguousarray(scaled.transpose(0, 2, 3, 1))


def decode_patches(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Uint8 N x side x side x C -> float32 N x C x side x side in [0, 1], contiguous."""
    result = np.ascontiguousarray(patches.transpose(0, 3, 1, 2), dtype=np.float32)
    result /= np.float32(255.0)
    return result


class PatchStore:
    """A finished store, open for reading.

    Attributes:
        folder: Where it lies.
        count: Number of patches.
        patch: Side of a patch in pixels.
        channels: Of a patch; a clip has those of all its pictures.
        notes: What the writer recorded: clips with their counts, the input, and the like.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        description = _read_description(folder)
        self.count = int(description["count"])
        self.patch = int(description["patch"])
        self.channels = int(description.get("channels", CHANNELS))
        self.notes: dict[str, Any] = dict(description["notes"])
        self._bytes = self.patch * self.patch * self.channels
        path = folder / DATA_NAME
        expected = _HEADER_BYTES + self.count * self._bytes
        found = path.stat().st_size if path.is_file() else 0
        if found != expected:
            raise DataError(
                f"{DATA_NAME} has {found} bytes, {DESCRIPTION_NAME} says {expected}",
                where=str(folder),
                mend="delete this folder and train again",
            )
        self._descriptor = os.open(path, os.O_RDONLY)

    @staticmethod
    def exists(folder: Path) -> bool:
        """True where a store was finished in `folder`."""
        return (folder / DESCRIPTION_NAME).is_file()

    def __enter__(self) -> PatchStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Patches in the order of `indices` (int64, n): uint8 n x side x side x channels.

        The disk is read in ascending order whatever the order of `indices`.

        Raises:
            DataError: The file became shorter since it was opened.
        """
        result = np.empty((len(indices), self.patch, self.patch, self.channels), dtype=np.uint8)
        rows = result.reshape(-1).data
        for place in np.argsort(indices, kind="stable").tolist():
            view = rows[place * self._bytes : (place + 1) * self._bytes]
            offset = _HEADER_BYTES + int(indices[place]) * self._bytes
            if os.preadv(self._descriptor, [view], offset) != self._bytes:
                raise DataError(f"{DATA_NAME} is truncated", where=str(self.folder))
        return result

    def shuffled(
        self,
        rng: np.random.Generator,
        *,
        batch: int,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """One epoch in random order; a last incomplete batch is left out (another one next time).

        Args:
            rng: Decides the order; the same generator state gives the same epoch.
            batch: Patches a batch over all processes; a smaller store gives one batch of all.
            part: (rank, world): this process reads its part of every batch.

        Yields:
            The part's place inside the global batch, and its patches as in `read`.
        """
        order = rng.permutation(self.count)
        size = min(batch, self.count)
        rank, world = part
        place = slice(rank * size // world, (rank + 1) * size // world)
        total = self.count // size if size else 0
        # Several batches are fetched together, in the order of the disk.
        together = max(1, _READ_BYTES // (size * self._bytes)) if size else 1
        for first in range(0, total, together):
            last = min(first + together, total)
            wanted = order[first * size : last * size].reshape(last - first, size)[:, place]
            patches = self.read(wanted.reshape(-1))
            yield from ((place, piece) for piece in np.split(patches, last - first))

    def ordered(
        self, *, batch: int, limit: int | None = None, part: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Patches in stored order, at most `limit` of them spread evenly: (indices, patches).

        `part` = (rank, world) takes every world-th batch only.
        """
        chosen = spread(self.count, limit)
        rank, world = part
        for first in range(rank * batch, len(chosen), world * batch):
            indices = chosen[first : first + batch]
            yield indices, self.read(indices)


class PatchWriter:
    """Writes a store clip by clip; the slots of the clip in progress may be overwritten.

    Use as a context manager: an exception leaves no store behind.

    Args:
        folder: Folder of the store, created; an older store in it is replaced.
        patch: Side of a patch in pixels.
        channels: Of a patch.
    """

    def __init__(self, folder: Path, *, patch: int, channels: int = CHANNELS) -> None:
        self.folder = folder
        self.patch = patch
        self.channels = channels
        self.count = 0
        self._bytes = patch * patch * channels
        self._in_clip = 0
        self._descriptor = -1

    def __enter__(self) -> PatchWriter:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / DESCRIPTION_NAME).unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._descriptor = os.open(self.folder / DATA_NAME, flags, 0o644)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, slots: NDArray[np.int64], patches: NDArray[np.uint8]) -> None:
        """Put patches (uint8 n x side x side x channels) into slots, from 0 up, of this clip.

        Raises:
            CannotCreateError: The disk is full or cannot be written.
        """
        rows = np.ascontiguousarray(patches).reshape(-1).data
        try:
            for place, slot in enumerate(slots.tolist()):
                view = rows[place * self._bytes : (place + 1) * self._bytes]
                offset = _HEADER_BYTES + (self.count + slot) * self._bytes
                _write_whole(self._descriptor, view, offset)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        self._in_clip = max(self._in_clip, int(slots.max(initial=-1)) + 1)

    def end_clip(self) -> int:
        """Keep the clip in progress and start the next one after it; returns its patches."""
        kept, self._in_clip = self._in_clip, 0
        self.count += kept
        return kept

    def finish(self, notes: dict[str, Any]) -> None:
        """Write the header and the description: from here on the store exists.

        Raises:
            CannotCreateError: The disk is full or cannot be written.
        """
        self.end_clip()
        try:
            shape = (self.count, self.patch, self.patch, self.channels)
            _write_whole(self._descriptor, memoryview(_header(shape)), 0)
            os.ftruncate(self._descriptor, _HEADER_BYTES + self.count * self._bytes)
            os.fsync(self._descriptor)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        description = {
            "count": self.count,
            "patch": self.patch,
            "channels": self.channels,
            "notes": notes,
        }
        write_text(self.folder / DESCRIPTION_NAME, json.dumps(description, indent=1) + "\n")


def spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """At most `limit` of the numbers 0 .. count-1, evenly spread (int64)."""
    if limit is None or count <= limit:
        return np.arange(count, dtype=np.int64)
    return (np.arange(limit, dtype=np.int64) * count) // limit


def _write_whole(descriptor: int, view: memoryview, offset: int) -> None:
    written = os.pwrite(descriptor, view, offset)
    if written != len(view):  # a disk about to be full writes a part; the second try says why
        os.pwrite(descriptor, view[written:], offset + written)


def _header(shape: tuple[int, int, int, int]) -> bytes:
    """A version 1.0 .npy header of exactly _HEADER_BYTES (numpy reads the file as any other)."""
    fields = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    start = npy.magic(1, 0)
    body = _HEADER_BYTES - len(start) - 2
    text = fields.ljust(body - 1) + "\n"
    return start + body.to_bytes(2, "little") + text.encode("latin1")


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION_NAME
    mend = "delete this folder and train again"
    try:
        description = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"no readable patch store: {error}", where=str(path), mend=mend) from error
    if not isinstance(description, dict) or {"count", "patch", "notes"} - set(description):
        raise DataError("the patch store's description lacks keys", where=str(path), mend=mend)
    return description


def _cannot_write(folder: Path, error: OSError) -> CannotCreateError:
    return CannotCreateError(
        f"cannot write the patch store: {error.strerror or error}",
        where=str(folder),
        mend="check that the disk has free space, or set training.patches lower",
    )
