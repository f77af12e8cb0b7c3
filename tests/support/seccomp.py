"""The system-call filter of the unit, on this process: what `SystemCallFilter=~@resources` does."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

# setpriority(2), behind os.nice, by machine.
SETPRIORITY = {"x86_64": 141, "aarch64": 140}
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER_MODE = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


def refuse_priorities() -> None:
    """From now on neither this process nor its children may change a priority: EPERM."""
    program = b"".join(
        struct.pack("=HBBI", *step)
        for step in (
            (_LOAD_WORD, 0, 0, 0),  # the number of the system call
            (_JUMP_IF_EQUAL, 0, 1, SETPRIORITY[platform.machine()]),
            (_RETURN, 0, 0, _FAIL | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    code = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.prctl(_SECCOMP, _FILTER_MODE, header):
        raise OSError(ctypes.get_errno(), "no filter")
