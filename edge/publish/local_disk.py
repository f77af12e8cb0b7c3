"""Whether a folder lies on a disk of this machine: SQLite's log breaks on network ones."""

from __future__ import annotations

import re
from pathlib import Path

from engines.errors import ConfigError

NETWORK = frozenset(
    {"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"}
)
_MOUNTS = Path("/proc/self/mountinfo")


def require_local(folder: Path, mounts: str | None = None) -> None:
    """Refuse a folder on a network file system.

    Args:
        folder: It, or its nearest parent that exists, is looked at.
        mounts: Text of ``/proc/self/mountinfo``; the kernel's if None.

    Raises:
        ConfigError: It lies on the network.
    """
    kind = file_system(folder, mounts)
    if kind in NETWORK:
        raise ConfigError(
            f"the outbox lies on a network file system ({kind}); a database breaks there",
            where=str(folder),
            mend="set `state` to a folder on a disk of this machine",
        )


def file_system(folder: Path, mounts: str | None = None) -> str | None:
    """The type of the file system that `folder` lies on; None: not known."""
    mounts = _read_mounts() if mounts is None else mounts
    place = folder.resolve()
    best, kind = -1, None
    for line in mounts.splitlines():
        # 36 35 98:0 /root /mount/point options... - type source options
        left, dash, right = line.partition(" - ")
        fields = left.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(_unescape(fields[4]))
        # The last of equals covers the others.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split(" ")[0]
    return kind


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _unescape(text: str) -> str:
    """The kernel writes blanks and the like as a backslash and three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
