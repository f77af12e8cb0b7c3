"""The disk of a bare device: a small Debian with systemd and sshd, made once and kept.

What is kept is the finished ext4 image, under a name that holds a hash of everything that it was
made from. A test takes a sparse copy (`copy_disk`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.ground.commands import run

SUITE = "bookworm"
PYTHON = "3.11"  # its own
USER = "admin"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "udev", "openssh-server"),
    *("python3", "python3-venv", "sudo", "iproute2"),
)
_SIZE = "3G"  # sparse: takes what is in it
_BUILD_S = 1800
_KEEP_S = 14 * 24 * 3600.0


@dataclass(frozen=True)
class Identity:
    """An operator's key pair for ssh."""

    private: Path

    @property
    def public(self) -> Path:
        return self.private.with_suffix(".pub")


@dataclass(frozen=True)
class BareImage:
    """An ext4 image, who may log in, and the host key that it shows (a line of known_hosts)."""

    disk: Path
    identity: Identity
    host_key: str


@dataclass(frozen=True)
class Recipe:
    """What an image is made of.

    Attributes:
        kind: First word of its file's name.
        packages: Of Debian, beyond the minimum.
        finish: Given the root folder and the image's file before the image is made; may keep files
            beside it, with its name and another ending.
        sources: Files that decide what comes out, beside this one.
        architecture: Debian's name of another than this machine's.
    """

    kind: str
    packages: tuple[str, ...] = PACKAGES
    finish: Callable[[Path, Path], None] = lambda _root, _disk: None
    sources: tuple[Path, ...] = ()
    architecture: str = ""


def cache_folder() -> Path:
    """VIGIL_DEVICE_CACHE, else ~/.cache/vigil."""
    folder = Path(os.environ.get("VIGIL_DEVICE_CACHE") or Path.home() / ".cache" / "vigil")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def bare_image(recipe: Recipe = Recipe("device")) -> BareImage:  # it is frozen
    """The image of this version of this module; builds it if it is not in the cache (a minute)."""
    folder = cache_folder()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        identity = _identity(folder)
        stamp = hashlib.sha256(Path(__file__).read_bytes() + identity.public.read_bytes())
        stamp.update(b"".join(path.read_bytes() for path in recipe.sources))
        stamp.update(recipe.architecture.encode())
        disk = folder / f"{recipe.kind}-{stamp.hexdigest()[:16]}.ext4"
        host_key = disk.with_suffix(".hostkey")
        if not disk.exists():
            _build(disk, host_key, identity, recipe)
        os.utime(disk)
        _forget_old(folder)
    return BareImage(disk, identity, host_key.read_text().strip())


def copy_disk(source: Path, target: Path) -> Path:
    """A copy that takes only what is in it."""
    run("cp", "--sparse=always", str(source), str(target), timeout_s=120)
    return target


def _identity(folder: Path) -> Identity:
    identity = Identity(folder / "id_ed25519")
    if not identity.private.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vigil device tests",
            "-f", str(identity.private))  # fmt: skip
    return identity


def _build(disk: Path, host_key: Path, identity: Identity, recipe: Recipe) -> None:
    root = disk.with_suffix(f".{os.getpid()}.root")
    try:
        root.mkdir()
        run("tar", "-C", str(root), "--numeric-owner", "-xpf",
            str(_distribution(disk.parent, recipe)), timeout_s=300)  # fmt: skip
        _furnish(root, identity)
        recipe.finish(root, disk)
        words = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        host_key.write_text(" ".join(words[:2]) + "\n")
        unfinished = disk.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(unfinished), _SIZE, timeout_s=300)
        unfinished.rename(disk)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _distribution(folder: Path, recipe: Recipe) -> Path:
    """The distribution as it comes, as a tar file: what takes long and seldom changes."""
    wanted = " ".join((SUITE, *recipe.packages, *recipe.architecture.split()))
    kept = folder / f"{SUITE}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.tar"
    if not kept.exists():
        unfinished = folder / "part.tar"
        foreign = [f"--architectures={recipe.architecture}"] if recipe.architecture else []
        run("mmdebstrap", "--quiet", "--variant=minbase", *foreign,
            f"--include={','.join(recipe.packages)}",
            "--format=tar", SUITE, str(unfinished), timeout_s=_BUILD_S)  # fmt: skip
        unfinished.rename(kept)
    os.utime(kept)
    return kept


def _furnish(root: Path, identity: Identity) -> None:
    """An operator who may log in by key and use sudo; a name; a quick sshd."""
    # Under a strict umask a daemon's user could not even enter the root directory.
    for folder in (root, root / "etc"):
        folder.chmod(0o755)
    run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", USER)
    rule = root / "etc/sudoers.d" / USER
    rule.write_text(f"{USER} ALL=(ALL) NOPASSWD:ALL\n")
    rule.chmod(0o440)
    for home in ("root", f"home/{USER}"):
        keys = root / home / ".ssh/authorized_keys"
        keys.parent.mkdir(exist_ok=True)
        keys.parent.chmod(0o700)
        keys.write_text(identity.public.read_text())
        keys.chmod(0o600)
    run("chroot", str(root), "chown", "-R", f"{USER}:{USER}", f"/home/{USER}")
    (root / "etc/hostname").write_text("device\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 device\n")
    (root / "etc/ssh/sshd_config.d/quick.conf").write_text(
        "UseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n"
    )
    # A journal that outlives a power cut, as on a board.
    (root / "var/log/journal").mkdir(exist_ok=True)
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer"):
        mask = root / "etc/systemd/system" / timer
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")


def _forget_old(folder: Path) -> None:
    """What nothing has asked for in two weeks."""
    for kept in (*folder.glob("*.ext4"), *folder.glob("*.tar")):
        if time.time() - kept.stat().st_mtime > _KEEP_S:
            for beside in folder.glob(f"{kept.stem}.*"):
                beside.unlink()
