"""Programs of the machine, run with a limit of time; what they said stands in the error."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
# Environment of every `vigil` that a test starts: the code of this working tree, one thread.
VIGIL = {
    "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
    "OMP_NUM_THREADS": "1",
}


class CommandError(AssertionError):
    """A program that had to succeed did not."""


def run(
    *command: str,
    timeout_s: float = 60.0,
    check: bool = True,
    text_in: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end; raises `CommandError` on another exit code than 0, unless `check` is off."""
    try:
        done = subprocess.run(
            command,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            f"{_shown(command)}: not done in {timeout_s:.0f} s\n{_text(error.stdout)}"
            f"{_text(error.stderr)}"
        ) from None
    if check and done.returncode != 0:
        raise CommandError(
            f"{_shown(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done


@contextlib.contextmanager
def told_how_long(what: str) -> Iterator[None]:
    """Print what something took."""
    began_s = time.monotonic()
    try:
        yield
    finally:
        print(f"{what}: {time.monotonic() - began_s:.1f} s", flush=True)


def _shown(command: Sequence[str]) -> str:
    return " ".join(command)[:500]


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
