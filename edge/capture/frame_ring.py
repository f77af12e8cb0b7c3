"""Three pictures in shared memory: a capture process writes, the daemon takes the newest.

The writer goes round the slots and never waits, so the newest picture always wins, however slow the
reader is. Each slot carries a sequence number that is odd while the slot is being written; a reader
that finds another number after its copy than before has read a torn picture and tries the newest
again. The memory is a memfd: it has no name and is gone with its last user, also after a kill.

The sequence numbers mean something only if memory keeps their order. Processors of the x86 family
do so on their own; on others (ARM) each step is parted from the next by `sched_yield`, because the
kernel promises that its scheduler is a full barrier (Documentation/memory-barriers.txt) and Python
has none.
"""

from __future__ import annotations

import mmap
import os
import platform
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError

MAX_PIXELS = 4096 * 3072
"""Larger pictures are refused. Memory is used only as far as pictures are large."""

_SLOTS = 3
_TRIES = 3
_PAGE = 4096
_STRIDE = _PAGE + MAX_PIXELS * 3
_SIZE = _PAGE + _SLOTS * _STRIDE
_COUNT = struct.Struct("<Q")
_META = struct.Struct("<QddIIdQddQd")
_META_AT = 64  # behind the slot's sequence number
_KEEPS_ORDER = platform.machine().lower() in {"x86_64", "amd64", "i686"}


@dataclass(frozen=True)
class FrameMeta:
    """What is known about one captured picture.

    Attributes:
        number: 1 for the first picture of this capture process, +1 each.
        mono_s: CLOCK_MONOTONIC at capture, seconds; the same clock in all processes.
        wall_s: Wall clock at capture, seconds since the epoch.
        width: Pixels.
        height: Pixels.
        still_s: For how long the picture has not changed at all.
        changes: How often it has changed since this capture process began.
        luma_mean: Mean brightness, 0..255.
        luma_sd: Its standard deviation over the picture.
        skipped: Pictures of this capture process that could not be decoded so far.
        key_frame_s: Longest time between two key frames so far, 0 if there are none.
    """

    number: int
    mono_s: float
    wall_s: float
    width: int
    height: int
    still_s: float = 0.0
    changes: int = 0
    luma_mean: float = 128.0
    luma_sd: float = 50.0
    skipped: int = 0
    key_frame_s: float = 0.0


class FrameRing:
    """The shared memory; one process writes, one reads.

    Args:
        descriptor: Of the memfd; this object closes it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _SIZE)

    @classmethod
    def create(cls) -> FrameRing:
        """A new ring, empty."""
        descriptor = os.memfd_create("vigil-frames", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def close(self) -> None:
        """Unmap it."""
        self._map.close()
        os.close(self.descriptor)

    @property
    def count(self) -> int:
        """How many pictures were written."""
        return int(_COUNT.unpack_from(self._map, 0)[0])

    def write(self, picture: NDArray[np.uint8], meta: FrameMeta) -> None:
        """Add a picture, uint8, height x width x 3; `meta.number` must be `count` + 1.

        Raises:
            DataError: The picture is larger than `MAX_PIXELS`.
        """
        height, width = picture.shape[:2]
        if height * width > MAX_PIXELS:
            raise DataError(
                f"The picture of {width}x{height} is larger than {MAX_PIXELS} pixels",
                mend="set the camera to a smaller size",
            )
        base = self._slot(meta.number)
        _COUNT.pack_into(self._map, base, 2 * meta.number - 1)
        _barrier()
        _META.pack_into(
            self._map,
            base + _META_AT,
            meta.number,
            meta.mono_s,
            meta.wall_s,
            width,
            height,
            meta.still_s,
            meta.changes,
            meta.luma_mean,
            meta.luma_sd,
            meta.skipped,
            meta.key_frame_s,
        )
        target = np.frombuffer(self._map, np.uint8, picture.size, base + _PAGE)
        target[:] = picture.reshape(-1)
        _barrier()
        _COUNT.pack_into(self._map, base, 2 * meta.number)
        _barrier()
        _COUNT.pack_into(self._map, 0, meta.number)

    def peek(self) -> FrameMeta | None:
        """What is known about the newest picture; None: there is none."""
        read = self._read(copy=False)
        return None if read is None else read[0]

    def newest(self) -> tuple[FrameMeta, NDArray[np.uint8]] | None:
        """The newest picture, copied: uint8, height x width x 3; None: there is none."""
        return self._read(copy=True)

    def _read(self, *, copy: bool) -> tuple[FrameMeta, NDArray[np.uint8]] | None:
        for _ in range(_TRIES):
            number = self.count
            if number == 0:
                return None
            _barrier()
            base = self._slot(number)
            before = _COUNT.unpack_from(self._map, base)[0]
            _barrier()
            meta = FrameMeta(*_META.unpack_from(self._map, base + _META_AT))
            size = meta.width * meta.height * 3
            picture = np.zeros((0, 0, 3), np.uint8)
            if not 0 < size <= MAX_PIXELS * 3:
                return None  # the writer is not to be trusted: it reads what strangers send
            if copy:
                seen = np.frombuffer(self._map, np.uint8, size, base + _PAGE)
                picture = seen.copy().reshape(meta.height, meta.width, 3)
                del seen  # or the mapping could not be closed
            _barrier()
            if before == _COUNT.unpack_from(self._map, base)[0] == 2 * meta.number:
                return meta, picture
        return None

    def _slot(self, number: int) -> int:
        return _PAGE + (number - 1) % _SLOTS * _STRIDE


def _barrier() -> None:
    """What stands before it in this thread is seen by others before what stands behind it."""
    if not _KEEPS_ORDER:
        os.sched_yield()
