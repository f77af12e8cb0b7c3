"""Checks of the machine: folders and their rights, disk, clock, password files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import psutil

from edge.clock import Clock
from edge.config import Config
from edge.doctor.check import Finding, ok
from edge.publish.local_disk import NETWORK, file_system
from edge.publish.outbox_file import OUTBOX_NAME, in_use

MIN_FREE = 200 * 2**20
WARN_FREE = 2**30
FSYNC_WARN_S = 0.05
_FSYNC_TRIES = 20
# Before this the clock is surely wrong: the device has no battery clock and was not told the time.
_EARLIEST_YEAR = 2026


def check_state(config: Config) -> Finding:
    """The state folder may be written, or made; a daemon may use it.

    Nothing is made here: what root's doctor made, the daemon's user could not open.
    """
    folder = config.state
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    mend = (
        f"sudo install -d -o {_user()} -m 0750 {folder}; "
        "as a service only its own StateDirectory is writable"
    )
    if nearest != folder:
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            return Finding("state", "fail", f"{folder} cannot be made in {nearest}", mend)
        return ok("state", f"{folder} will be made at the first start")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("state", "fail", f"{folder} cannot be written: {error.strerror}", mend)
    # The lock alone: the outbox itself is opened by the daemon and by nobody else.
    used = "; a daemon uses it now" if in_use(folder / OUTBOX_NAME) else ""
    return ok("state", f"{folder} can be written{used}")


def check_disk(config: Config) -> Finding:
    """Room, a local file system, and a disk that confirms writes in time."""
    folder = _existing(config.state)
    free = shutil.disk_usage(folder).free
    kind = file_system(folder) or "unknown"
    if kind in NETWORK:
        return Finding(
            "disk",
            "fail",
            f"{folder} is on a network file system ({kind})",
            "set `state` to a folder on a local disk: SQLite's locks need it",
        )
    if free < MIN_FREE:
        return Finding(
            "disk",
            "fail",
            f"{_mib(free)} free in {folder}, at least {_mib(MIN_FREE)} are needed",
            f"make room: sudo du -xh --max-depth=2 {folder} | sort -h | tail; "
            "journalctl --vacuum-size=100M",
        )
    slowest_s = _slowest_fsync_s(folder)
    found = f"{_mib(free)} free in {folder} ({kind}), slowest fsync {slowest_s * 1000:.0f} ms"
    if free < WARN_FREE:
        return Finding("disk", "warn", found, "make room, or lower outbox.max_size")
    if slowest_s > FSYNC_WARN_S:
        mend = "events are committed late; use a better card or disk for `state`"
        return Finding("disk", "warn", found, mend)
    return ok("disk", found)


def check_clock(clock: Clock) -> Finding:
    """The wall clock is set and known to be right."""
    now = clock.utc()
    mend = "sudo timedatectl set-ntp true; timedatectl timesync-status (or chronyc tracking)"
    if now.year < _EARLIEST_YEAR:
        return Finding("clock", "fail", f"it says {now:%Y-%m-%d %H:%M} UTC", mend)
    if clock.state() != "synced":
        return Finding(
            "clock", "warn", f"{now:%Y-%m-%d %H:%M:%S} UTC, not synchronised: events say so", mend
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, synchronised")


def check_secrets(config: Config) -> Finding:
    """Files with passwords and keys: readable by us, by nobody else."""
    files = _secret_files(config)
    if not files:
        return ok("secrets", "no password or key file is named")
    failed: list[tuple[str, str]] = []
    warned: list[tuple[str, str]] = []
    for key, path in files.items():
        if not os.access(path, os.R_OK):
            what = "is not there" if not path.exists() else "cannot be read"
            mend = f"sudo install -o {_user()} -m 0600 FILE {path}"
            failed.append((f"{key} {what}: {path}", mend))
        elif stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXO | stat.S_IWGRP):
            warned.append((f"{key} is open to others: {path}", f"sudo chmod 0600 {path}"))
    if not failed and not warned:
        return ok("secrets", f"{', '.join(files)}: readable by us, not by others")
    found, mends = zip(*failed, *warned, strict=True)
    return Finding("secrets", "fail" if failed else "warn", "; ".join(found), "; ".join(mends))


def _secret_files(config: Config) -> dict[str, Path]:
    """By their keys in the configuration."""
    named: dict[str, Path | None] = {
        "mqtt.password_file": config.mqtt.password_file,
        "mqtt.key_file": config.mqtt.key_file,
    }
    if config.page is not None:
        named["page.token_file"] = config.page.token_file
        named["page.key_file"] = config.page.key_file
    for name, camera in config.cameras.items():
        named[f"cameras.{name}.password_file"] = camera.password_file
    return {key: path for key, path in named.items() if path is not None}


def check_memory(config: Config) -> Finding:
    """Room for the daemon and one capture process a camera, by a rough sum."""
    available = psutil.virtual_memory().available
    needed = 512 * 2**20 + sum(
        128 * 2**20 + (0 if camera.clip is None else camera.clip.max_size)
        for camera in config.cameras.values()
        if camera.enabled
    )
    found = f"{_mib(available)} available, about {_mib(needed)} wanted"
    if available < needed:
        mend = "stop other programs, watch fewer cameras, or make clips smaller"
        return Finding("memory", "warn", found, mend)
    return ok("memory", found)


def _slowest_fsync_s(folder: Path) -> float:
    slowest_s = 0.0
    with tempfile.TemporaryFile(dir=folder) as stream:
        for _ in range(_FSYNC_TRIES):
            stream.write(b"vigil" * 800)
            stream.flush()
            begin = time.perf_counter()
            os.fsync(stream.fileno())
            slowest_s = max(slowest_s, time.perf_counter() - begin)
    return slowest_s


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _user() -> str:
    return os.environ.get("USER") or str(os.geteuid())


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
