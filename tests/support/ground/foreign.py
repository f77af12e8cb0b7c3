"""Programs of another kind of machine run here, for as long as its disk is in the making."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

from support.ground.commands import run

_HANDLERS = Path("/proc/sys/fs/binfmt_misc")


@contextlib.contextmanager
def programs_of(machine: str) -> Iterator[None]:
    """Let the kernel hand such programs to QEMU; for all of this machine, so it is undone.

    Args:
        machine: As `uname -m` tells it.
    """
    handler = f"qemu-{machine}"
    with contextlib.ExitStack() as stack:
        if machine != platform.machine():
            if not (_HANDLERS / "register").exists():
                run("mount", "-t", "binfmt_misc", "binfmt_misc", str(_HANDLERS))
                stack.callback(run, "umount", str(_HANDLERS))
            if not (_HANDLERS / handler).exists():
                run("update-binfmts", "--enable", handler)
                stack.callback(run, "update-binfmts", "--disable", handler)
        yield
