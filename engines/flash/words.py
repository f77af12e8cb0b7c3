"""What the two ends of a flash say to each other: one JSON object a line on standard output."""

from __future__ import annotations

from typing import Any, Final

from engines import errors
from engines.errors import InternalError, VigilError

_KINDS: Final = {
    kind.exit_code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, VigilError) and kind is not VigilError
}


def error_json(error: VigilError) -> dict[str, Any]:
    """An error as one line says it."""
    return {
        "what": error.what,
        "where": error.where,
        "mend": error.mend,
        "exit_code": error.exit_code,
    }


def error_from(raw: Any, *, device: str) -> VigilError:
    """The error that a device told, with the device in its place."""
    if not isinstance(raw, dict):
        raw = {}
    kind = _KINDS.get(raw.get("exit_code"), InternalError)
    where = f"{device}: {raw['where']}" if raw.get("where") else device
    mend = raw.get("mend")
    return kind(
        printable(str(raw.get("what", "it failed and did not say why"))),
        where=printable(where),
        mend=printable(str(mend)) if mend else None,
    )


def printable(text: str, limit: int = 2000) -> str:
    """What a device says must not steer the terminal of whoever reads it."""
    return "".join(c if c.isprintable() else " " for c in text)[:limit]
