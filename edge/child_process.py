"""What the daemon's own processes have in common: they die with it, and are told no secret.

A process that reads what strangers send (a camera's bytes, a browser's requests) must not answer
for the daemon to the service manager, and needs nobody's password: what it needs comes to it
through a socket.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1
_KEPT_BACK = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"})
_KEPT_BACK_PREFIX = "VIGIL_"


def child_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without passwords, tokens and the service manager's address."""
    return {
        key: value
        for key, value in environment.items()
        if key not in _KEPT_BACK and not key.startswith(_KEPT_BACK_PREFIX)
    }


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
