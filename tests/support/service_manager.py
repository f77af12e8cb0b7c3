"""The service manager's side of sd_notify(3): a real socket that remembers what it heard."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Manager:
    """Listens at `address`, as `NOTIFY_SOCKET` is to name it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self.times: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def listen(self, timeout_s: float = 0.0) -> list[str]:
        """Everything that lies there, after waiting for the first of it."""
        select.select([self._socket], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self._socket.recv(65536).decode())
                self.times.append(time.monotonic())
        return self.heard

    def wait_for(self, *messages: str, timeout_s: float = 120.0) -> None:
        """Until all of `messages` were heard; the test fails otherwise."""
        deadline = time.monotonic() + timeout_s
        while not set(messages) <= set(self.listen(0.1)):
            if time.monotonic() > deadline:
                pytest.fail(f"{messages} not within {timeout_s} s, heard {self.heard}")

    def wait_for_text(self, text: str, timeout_s: float = 120.0) -> None:
        """Until a message holds `text`; the test fails otherwise."""
        deadline = time.monotonic() + timeout_s
        while not any(text in message for message in self.listen(0.1)):
            if time.monotonic() > deadline:
                pytest.fail(f"{text!r} not within {timeout_s} s, heard {self.heard}")

    def forget(self) -> None:
        self.listen()
        self.heard.clear()
        self.times.clear()

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def manager_at(kind: str, folder: Path) -> Iterator[Manager]:
    """`kind`: "path" or "abstract"."""
    name = f"vigil-test-{os.getpid()}-{secrets.token_hex(4)}"
    manager = Manager(str(folder / "notify") if kind == "path" else f"@{name}")
    try:
        yield manager
    finally:
        manager.close()
