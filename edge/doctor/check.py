"""One check of the doctor: what was looked at, what was found, and the next thing to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from engines.errors import VigilError

Grade = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        check: Its name.
        grade: "fail": it will not work; "warn": it works, but not as it should; "skip": not
            looked at, and `found` says why.
        found: What was found, with values.
        mend: The next thing to type or to change; empty where all is well.
    """

    check: str
    grade: Grade
    found: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        first = f"{self.grade:4}  {self.check}: {self.found}"
        return [first, f"      mend: {self.mend}"] if self.mend else [first]


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def from_error(check: str, error: VigilError, *, grade: Grade = "fail") -> Finding:
    """An error of the runtime as a finding."""
    where = f" [{error.where}]" if error.where else ""
    return Finding(check, grade, f"{error.what}{where}", error.mend or "see the message")


def attempt(check: str, look: Callable[[], Finding]) -> Finding:
    """Run a check; an error that it meets is its finding."""
    try:
        return look()
    except VigilError as error:
        return from_error(check, error)
    except OSError as error:
        where = f" [{error.filename}]" if error.filename else ""
        what = f"this check could not be made: {error.strerror or error}{where}"
        return Finding(check, "fail", what, "run it as the user of the daemon: sudo -u vigil ...")
