"""The one family of errors: what is wrong, where, and what mends it.

The command line prints those three lines and exits with the class's code (sysexits numbers, see
README, "Exit codes"). A traceback reaching a user is a bug. Classes are grouped by who must act.
"""

from __future__ import annotations

from typing import ClassVar


class VigilError(Exception):
    """Base of every error that a user may see.

    Args:
        what: What is wrong, one sentence, with the values that were expected and found.
        where: File, line, key, camera or address the sentence is about.
        mend: The next thing to type or to change.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(what)

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        mend = f" -- {self.mend}" if self.mend else ""
        return f"{self.what}{where}{mend}"


class UsageError(VigilError):
    """The command was called in a way that cannot work."""

    exit_code = 64


class DataError(VigilError):
    """A file is there but does not hold what it must: bundle, network, clip, mask, statistics."""

    exit_code = 65


class InputMissingError(VigilError):
    """A file or folder that was named is not there, or is empty."""

    exit_code = 66


class UnavailableError(VigilError):
    """Something this step needs is not there: a library, a device, a broker."""

    exit_code = 69


class InternalError(VigilError):
    """The program itself failed; a restart may help."""

    exit_code = 70


class CannotCreateError(VigilError):
    """An output cannot be written."""

    exit_code = 73


class TemporaryError(VigilError):
    """Failed now; trying again later is useful."""

    exit_code = 75


class RefusedError(VigilError):
    """Permission or signature refused."""

    exit_code = 77


class ConfigError(VigilError):
    """The configuration file is wrong; see the list in the message."""

    exit_code = 78
