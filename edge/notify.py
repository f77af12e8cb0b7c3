"""Speaks to the service manager: sd_notify(3) over the socket that `NOTIFY_SOCKET` names.

Without a manager every call does nothing. A manager that does not read never blocks us: what finds
no room is dropped, and said again with the next beat.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import structlog

SOCKET_VARIABLE = "NOTIFY_SOCKET"
_MAX_STATUS = 400
_EXTEND_EVERY_S = 10.0
_EXTEND_BY_S = 30.0

_log = structlog.get_logger()


class Notifier:
    """The channel to the service manager.

    Args:
        environment: Where the manager has put its address and the watchdog's period.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get(SOCKET_VARIABLE, ""))
        self._socket: socket.socket | None = None
        self.watchdog_s = _watchdog_s(environment)
        """The manager kills us after so many seconds of silence; None: it does not."""
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def active(self) -> bool:
        """Somebody listens."""
        return self._socket is not None

    def ready(self) -> None:
        """Starting, or reading the configuration again, is over; the watchdog counts."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again, until the next `ready`.

        The time belongs to the same message: managers from 253 on (`Type=notify-reload`) tell by it
        which of two reloads is meant; older ones do not look at it.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())[:_MAX_STATUS]}")

    def extend(self, seconds: float) -> None:
        """Starting, or ending, takes up to so much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    @contextlib.contextmanager
    def starting(self, *, at_most_s: float) -> Iterator[None]:
        """Ask for time while the block runs: an engine may take minutes to load.

        After `at_most_s` no more is asked for, so that a start that hangs fails in the end.
        """
        over = threading.Event()

        def ask() -> None:
            left_s = at_most_s
            while left_s > 0.0 and not over.is_set():
                self.extend(_EXTEND_BY_S)
                over.wait(_EXTEND_EVERY_S)
                left_s -= _EXTEND_EVERY_S

        thread = threading.Thread(target=ask, name="starting", daemon=True)
        if self.active:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self.active:
                thread.join()

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                _log.warning("notify_failed", error=str(error), message=message)


def _address(name: str) -> str | None:
    """A path, or a name of the abstract namespace (`@name`) as the kernel takes it."""
    if name.startswith("@") and len(name) > 1:
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """The period, if it is meant for this process."""
    period, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not period.isdecimal() or int(period) == 0:
        return None
    if process and process != str(os.getpid()):
        return None
    return int(period) / 1e6
