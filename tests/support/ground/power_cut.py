"""What a power cut leaves of an ext4 file system, without cutting power.

The ioctl stops the file system at once: no further write reaches the medium, dirty pages and the
running transaction of the journal are dropped. When it is mounted again the journal is replayed, as
after a real cut. What it does not show: a drive's own volatile cache, and sectors half written.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# linux/fs/ext4: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32); 2 is EXT4_GOING_FLAGS_NOLOGFLUSH.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2

# By default ext4 writes a file out when it is renamed over another, which would hide a missing
# fsync. A device in the field may have any file system, so the strict one is tested.
MOUNT_OPTIONS = "loop,noauto_da_alloc"


def stop_file_system(mount_point: Path) -> None:
    """Drop everything that the file system has not yet written."""
    opened = os.open(mount_point, os.O_RDONLY)
    try:
        fcntl.ioctl(opened, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(opened)
