"""Whole bundles under `releases/`: put together aside, synced, then named by one rename.

A folder under its final name was complete and durable when it got that name. What is not referred
to by the journal is swept away.
"""

from __future__ import annotations

from pathlib import Path

from engines.bundle_check import Checked, check_bundle
from engines.errors import VigilError
from engines.flash.disk import Disk, point, told
from engines.flash.home import Home, release_name
from engines.flash.journal import Journal
from engines.manifest import MANIFEST_NAME, SIGNATURE_NAME
from engines.trusted_keys import TrustedKeys


def stage(home: Home, disk: Disk, checked: Checked, source: Path, trusted: TrustedKeys) -> str:
    """Put a received bundle together under its own name; check all of it there, again.

    Args:
        home: Of the device.
        disk: Does it.
        checked: Its verified manifest.
        source: Folder of the received blobs.
        trusted: The keys that count.

    Returns:
        Name of the release.

    Raises:
        DataError: A blob is missing, or has changed since it was received.
        CannotCreateError: The disk is full or failing.
    """
    name = release_name(checked.manifest)
    target, beside = home.release(name), home.staging(name)
    with told(target):
        disk.make_folder(home.releases)
        if target.is_dir() and is_whole(target, trusted):
            return name
        disk.remove_tree(target)
        disk.remove_tree(beside)
        disk.make_folder(beside)
        folders = [beside]
        for entry in checked.manifest.files:
            for parent in reversed(Path(entry.path).parents[:-1]):
                if beside / parent not in folders:
                    disk.make_folder(beside / parent)
                    folders.append(beside / parent)
            disk.copy(source / entry.sha256, beside / entry.path)
            disk.sync(beside / entry.path)
        for file in (MANIFEST_NAME, SIGNATURE_NAME):
            disk.copy(source / file, beside / file)
            disk.sync(beside / file)
        for folder in reversed(folders):
            disk.sync_folder(folder)
        check_bundle(beside, trusted=trusted)
        disk.rename(beside, target)
        disk.sync_folder(home.releases)
        disk.sync_folder(home.root)
    return name


def is_whole(root: Path, trusted: TrustedKeys | None = None) -> bool:
    """Whether every file of a bundle is as its manifest states."""
    try:
        check_bundle(root, trusted=trusted)
    except VigilError:
        return False
    return True


def sweep(home: Home, disk: Disk, journal: Journal, *, arrivals: bool) -> None:
    """Remove releases that the journal does not keep; with `arrivals` also what was received."""
    with told(home.root):
        if home.releases.is_dir():
            for path in sorted(home.releases.iterdir()):
                if path.name not in journal.kept():
                    disk.remove_tree(path)
        if arrivals and home.incoming.is_dir():
            for path in sorted(home.incoming.iterdir()):
                disk.remove_tree(path)


def lead_back(disk: Disk, home: Home, old: str | None) -> None:
    """Let `current` lead to the old release, or nowhere where there was none."""
    if old is not None:
        point(disk, home.current, f"releases/{old}")
    else:
        disk.remove(home.current)
        disk.sync_folder(home.root)
