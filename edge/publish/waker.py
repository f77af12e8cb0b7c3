"""Ends another thread's wait on a socket."""

from __future__ import annotations

import contextlib
import os
import threading


class Waker:
    """A pipe to be polled together with a socket. `wake` may be called from any thread.

    The lock matters: a write to a pipe that has just been closed could hit whatever file got its
    number, the outbox for example.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._open = True

    def fileno(self) -> int:
        """The end to be polled."""
        return self._read

    def wake(self) -> None:
        """Make the reader's end readable."""
        with self._lock:
            if self._open:
                with contextlib.suppress(BlockingIOError):  # full: the reader wakes anyway
                    os.write(self._write, b"w")

    def clear(self) -> None:
        """Forget earlier wakes; only the reader calls it."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        """Free the pipe; only the reader calls it, when it waits no more."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._read)
                os.close(self._write)
