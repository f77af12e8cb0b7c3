"""A device over OpenSSH: one connection that all commands share, the user's own agent and rules.

OpenSSH is run as a program, so that `~/.ssh/config`, known hosts, jump hosts, agents and hardware
keys work as they do by hand. It never asks (`BatchMode`), never believes an unknown host, and finds
out within half a minute that a device has gone. No secret is ever part of a command.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Final

from engines.errors import (
    InputMissingError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from engines.flash.words import printable

CONNECT_S: Final = 10
# Silence of 5 x 4 s and the connection is taken for gone.
ALIVE_EVERY_S: Final = 5
ALIVE_COUNT: Final = 4
_LOST: Final = 255  # ssh's own failures; what ran on the device gives its own code
_NOT_FOUND: Final = (126, 127)
_TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%\[\]-]{0,254}", re.ASCII)

Write = Callable[[BinaryIO], None]


class LostError(UnavailableError):
    """The connection is gone, or never came to be; trying again may help."""


@dataclass(frozen=True)
class Done:
    """What a command on a device did."""

    code: int
    out: bytes
    err: str


@dataclass
class Remote:
    """One device.

    Args:
        target: `user@host`, or a name of the ssh configuration.
        config: Another ssh configuration file.
        sudo: Whether commands are run through `sudo -n` where the user is not root.
    """

    target: str
    config: Path | None = None
    sudo: bool = True
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if _TARGET.fullmatch(self.target) is None:
            raise UsageError(
                f"{printable(self.target, 80)!r} is no device",
                mend="write it as user@host, or as a name in your ssh configuration",
            )

    def __enter__(self) -> Remote:
        # A short path: the kernel takes at most 107 bytes for a socket.
        self._folder = tempfile.TemporaryDirectory(
            prefix="vigil-", dir="/tmp"
        )  # mode 0700, unguessable
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def disconnect(self) -> None:
        """End the shared connection; the next command makes a new one."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [*self._ssh(), "-O", "exit", "--", self.target],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=CONNECT_S,
                check=False,
            )

    def call(
        self,
        command: Sequence[str],
        *,
        write: Write | None = None,
        line: Callable[[bytes], None] | None = None,
        timeout_s: float | None = None,
    ) -> Done:
        """Run a command on the device.

        Args:
            command: Program and arguments; nothing of it is ever a secret.
            write: Writes to its standard input, which is then closed.
            line: Told each line of its standard output as it comes.
            timeout_s: Then the connection is taken for gone.

        Raises:
            LostError: No connection, or it broke.
            RefusedError: Unknown host key, no login, or no right to become root.
            InputMissingError: The program is not on the device.
            UnavailableError: There is no ssh here.
        """
        argv = [*self._ssh(), "--", self.target, self._quoted(command)]
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise UnavailableError(
                f"ssh cannot be started: {error.strerror}", mend="apt install openssh-client"
            ) from error
        with process, _killed_after(process, timeout_s):
            errors: list[bytes] = []
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            stderr = process.stderr
            threads = [
                threading.Thread(target=lambda: errors.append(stderr.read()), daemon=True),
                threading.Thread(target=_write, args=(process.stdin, write), daemon=True),
            ]
            for thread in threads:
                thread.start()
            out = _lines(process.stdout, line)
            for thread in threads:
                thread.join()
            code = process.wait()
        done = Done(code, out, b"".join(errors).decode("utf-8", "replace"))
        self._require_run(done)
        return done

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_EVERY_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "RequestTTY": "no",
        }
        if self._folder is not None:
            options["ControlMaster"] = "auto"
            options["ControlPersist"] = "60"
            options["ControlPath"] = f"{self._folder.name}/%C"
        command = ["ssh"] if self.config is None else ["ssh", "-F", str(self.config)]
        return command + [f"-o{key}={value}" for key, value in options.items()]

    def _quoted(self, command: Sequence[str]) -> str:
        plain = shlex.join(command)
        if not self.sudo:
            return plain
        return f'if [ "$(id -u)" = 0 ]; then exec {plain}; else exec sudo -n -- {plain}; fi'

    def _require_run(self, done: Done) -> None:
        """Tell apart what ssh, sudo and the shell say from what the program says."""
        if done.code < 0:
            raise LostError(
                "the device does not answer any more", where=self.target, mend="try again"
            )
        last = printable((done.err.strip().splitlines() or [""])[-1], 300)
        known = next((mend for words, mend in _KNOWN if words in done.err), None)
        if done.code == _LOST:
            if known is not None:
                raise RefusedError(f"ssh: {last}", where=self.target, mend=known)
            raise LostError(
                f"no connection: {last or 'it broke off'}",
                where=self.target,
                mend=f"does this work: ssh {self.target} true",
            )
        if "sudo: " in done.err and done.code == 1:
            raise RefusedError(
                f"no right to become root there: {last}",
                where=self.target,
                mend="log in as root, or let this user use sudo without a password"
                " (/etc/sudoers.d/vigil: USER ALL=(ALL) NOPASSWD: ALL)",
            )
        if done.code in _NOT_FOUND:
            raise InputMissingError(
                f"the program is not there: {last}",
                where=self.target,
                mend=f"vigil provision {self.target}",
            )


_KNOWN: Final = (
    (
        "Host key verification failed",
        "compare the device's key fingerprint, then add it: ssh-keyscan HOST >> ~/.ssh/known_hosts",
    ),
    ("Permission denied", "put your public key there: ssh-copy-id user@device"),
    ("Bad configuration option", "mend the ssh configuration"),
    ("Can't open user config file", "give an ssh configuration that exists with -F"),
)


def _write(stream: BinaryIO, write: Write | None) -> None:
    """The device says why it stopped to listen; here it is no error."""
    with contextlib.suppress(OSError, ValueError), stream:
        if write is not None:
            write(stream)


def _lines(stream: IO[bytes], line: Callable[[bytes], None] | None) -> bytes:
    kept = []
    for one in stream:
        kept.append(one)
        if line is not None:
            line(one)
    return b"".join(kept)


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float | None) -> Iterator[None]:
    timer = None if seconds is None else threading.Timer(seconds, process.kill)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        if timer is not None:
            timer.cancel()
