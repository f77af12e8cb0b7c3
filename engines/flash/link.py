"""`vigil device` on a device, over ssh: asks one thing, gets one answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from engines.errors import DataError, VigilError
from engines.flash.remote import Done, Remote
from engines.flash.words import error_from, printable

PROGRAM: Final = "/opt/vigil/runtime/bin/vigil"
QUICK_S: Final = 120.0  # offer and status; a slow board may take seconds to start Python

Say = Callable[[str, str, str], None]
"""Told step, state and words."""


@dataclass(frozen=True)
class Device:
    """`vigil device` on a device: asks one thing, gets one answer."""

    remote: Remote
    program: Sequence[str] = (PROGRAM, "device")

    def ask(
        self,
        key: str,
        command: Sequence[str],
        *,
        data: bytes = b"",
        write: Callable[[BinaryIO], None] | None = None,
        say: Say | None = None,
        timeout_s: float | None = QUICK_S,
    ) -> Any:
        """Run a subcommand and return what stands under `key` in its answer.

        Raises:
            VigilError: The one that the device tells; or the connection is gone.
        """
        answers: dict[str, Any] = {}

        def take(line: bytes) -> None:
            with contextlib.suppress(ValueError):
                raw = json.loads(line)
                if isinstance(raw, dict):
                    answers.update(raw)
                    if say is not None and "step" in raw:
                        words = (raw.get("step"), raw.get("state"), raw.get("text"))
                        say(*(printable(str(word), 500) for word in words))

        done = self.remote.call(
            [*self.program, *command],
            write=write or (lambda stream: _put(stream, data)),
            line=take,
            timeout_s=timeout_s,
        )
        if "error" in answers:
            raise error_from(answers["error"], device=self.remote.target)
        if key not in answers:
            raise _unclear(self.remote.target, done)
        return answers[key]


def _put(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def _unclear(target: str, done: Done) -> VigilError:
    last = printable((done.err.strip().splitlines() or ["nothing"])[-1], 300)
    return DataError(
        f"the device's program ended with code {done.code} and said: {last}",
        where=target,
        mend=f"is its vigil as new as this one? vigil provision {target}",
    )
