"""What signals do to a running daemon: SIGINT and SIGTERM end it, SIGHUP reads its file again."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from edge.daemon import Daemon

_TERMINAL = "/dev/tty"


class Signals:
    """Catches signals as long as its `with` block lasts, also while the daemon is being made.

    A SIGHUP in that time would otherwise end the process. One that comes because the terminal was
    closed ends the daemon, as it ends every program there.

    Args:
        reloads: There is a file that SIGHUP can read again; without it, it ends the daemon.
    """

    def __init__(self, *, reloads: bool) -> None:
        self._reloads = reloads
        self._daemon: Daemon | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}
        self._terminal = _has_terminal()

    def __enter__(self) -> Signals:
        """Catch SIGHUP at once; SIGINT and SIGTERM end a start as they always do."""
        self._catch(signal.SIGHUP)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def attach(self, daemon: Daemon) -> None:
        """From now on all of them go to this daemon."""
        self._daemon = daemon
        self._catch(signal.SIGINT)
        self._catch(signal.SIGTERM)
        for number in self._early:
            self._handle(number, None)

    def _catch(self, number: int) -> None:
        self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        daemon = self._daemon
        if daemon is None:
            self._early.append(number)
        elif number == signal.SIGHUP and self._reloads and not self._hung_up():
            daemon.request_reload()
        else:
            daemon.request_stop()

    def _hung_up(self) -> bool:
        return self._terminal and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
