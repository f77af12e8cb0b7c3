"""The page's process seen from the daemon: start it, speak to it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys

from edge.child_process import child_environment
from edge.page.settings import PageSettings
from edge.page.wire import Message, pack

SEND_S = 5.0
"""A process that takes nothing for so long hangs."""
START_S = 60.0
"""A new one imports its libraries first, and the board is more than the socket holds."""
_STOP_S = 2.0
_BACKLOG = 64
_HEARD_MAX = 4096


def listen(settings: PageSettings) -> socket.socket:
    """A listening socket. The daemon holds it, so a new process serves who came in between.

    Raises:
        OSError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.bind, settings.port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class PageProcess:
    """One running process.

    Args:
        settings: What it is told; through the socket, as the token is among it.
        listener: Where it takes connections.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, settings: PageSettings, listener: socket.socket) -> None:
        self.viewers = 0
        """Who is looking, as it said last."""
        self._heard = b""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "edge.page.child"),
                    *(str(listener.fileno()), str(os.getpid())),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
                env=child_environment(),
            )
            undo.pop_all()
        self._channel = ours
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        with contextlib.suppress(OSError):  # it has died already: `alive` tells
            self.send({"kind": "settings", "settings": settings.to_json()})

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, message: Message, data: bytes = b"", *, patience_s: float | None = None) -> None:
        """Tell it something; blocks for `SEND_S` at most, if nothing else is given.

        Raises:
            OSError: It has gone, or hangs. It may have half of the message, so it is of no use.
        """
        self._channel.settimeout(SEND_S if patience_s is None else patience_s)
        self._channel.sendall(pack(message, data))

    def hear(self) -> None:
        """Take over how many are looking."""
        # MSG_DONTWAIT alone would wait: a socket with a time limit is polled by Python first.
        if not self._poll.poll(0):
            return
        with contextlib.suppress(OSError):
            self._heard += self._channel.recv(_HEARD_MAX)
        *lines, self._heard = self._heard.split(b"\n")
        self._heard = self._heard[-_HEARD_MAX:]
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                self.viewers = int(json.loads(line)["viewers"])

    def stop(self) -> None:
        """End it: without a daemon it ends itself, else by force."""
        self._channel.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
