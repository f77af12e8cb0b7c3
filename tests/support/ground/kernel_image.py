"""The disk of a bare device that boots a kernel of its own: Debian's, with a small RAM disk.

There is no boot loader: the emulator is given kernel and initial RAM disk as files.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from support.ground.commands import run
from support.ground.foreign import programs_of
from support.ground.image import PACKAGES, BareImage, Recipe, bare_image

# Debian's names of machines, as `uname -m` tells them.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# What the initial RAM disk needs to find the root; the whole set makes it boot twice as long.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4")
# An old file must not be written out by a rename over it (see `power_cut`).
_FSTAB = "/dev/vda / ext4 rw,noauto_da_alloc,errors=remount-ro 0 1\n"
_MASKED = (
    *("e2scrub_reap.service", "getty@tty1.service", "systemd-networkd-wait-online.service"),
    # Each costs an emulated machine a second or more, and none has a device here.
    *(f"modprobe@{name}.service" for name in ("dm_mod", "fuse", "loop", "drm", "efi_pstore")),
)


@dataclass(frozen=True)
class KernelImage(BareImage):
    """An image with the kernel that boots it.

    Attributes:
        machine: As `uname -m` tells it.
    """

    machine: str

    @property
    def kernel(self) -> Path:
        return self.disk.with_suffix(".kernel")

    @property
    def initrd(self) -> Path:
        return self.disk.with_suffix(".initrd")


def kernel_image(machine: str = "") -> KernelImage:
    """The image, from the cache or built (two minutes; longer for another kind of machine)."""
    machine = machine or platform.machine()
    architecture = _ARCHITECTURES[machine]
    recipe = Recipe(
        f"machine-{machine}",
        (*PACKAGES, f"linux-image-cloud-{architecture}", "initramfs-tools", "zstd", "kmod"),
        _finish,
        (Path(__file__),),
        "" if machine == platform.machine() else architecture,
    )
    with programs_of(machine):
        made = bare_image(recipe)
    return KernelImage(made.disk, made.identity, made.host_key, machine)


def _finish(root: Path, disk: Path) -> None:
    (root / "etc/fstab").write_text(_FSTAB)
    # The address comes from the kernel's command line (systemd-network-generator).
    run("chroot", str(root), "systemctl", "--quiet", "enable", "systemd-networkd.service",
        "systemd-network-generator.service")  # fmt: skip
    for unit in _MASKED:
        mask = root / "etc/systemd/system" / unit
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")
    for kind in ("rsa", "ecdsa"):  # slow to use under emulation
        for key in (root / "etc/ssh").glob(f"ssh_host_{kind}_key*"):
            key.unlink()
    settings = root / "etc/initramfs-tools"
    (settings / "conf.d/small").write_text("MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n")
    (settings / "modules").write_text("\n".join(_MODULES) + "\n")
    (version,) = [path.name for path in (root / "lib/modules").iterdir()]
    run("chroot", str(root), "mkinitramfs", "-o", "/boot/small.img", version, timeout_s=900)
    shutil.copyfile(root / "boot/small.img", disk.with_suffix(".initrd"))
    shutil.copyfile(root / "boot" / f"vmlinuz-{version}", disk.with_suffix(".kernel"))
