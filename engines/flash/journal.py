"""`state.json`: which release runs, which may replace it, and what happened last.

It is replaced whole before each step that it announces, so after a power cut it tells how far the
device had come. Everything that recovery decides, it decides from this file.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from engines.errors import DataError
from engines.flash.disk import Disk, replace_file
from engines.flash.home import Home
from engines.manifest import check_schema, explain
from engines.model_spec import Strict
from engines.strict_json import decode_json

SCHEMA: Final = 1
MAX_BYTES: Final = 64 * 1024

Name = Annotated[str, Field(pattern=r"^[0-9]{1,15}-[0-9a-f]{12}$")]
Outcome = Literal["committed", "rolled_back", "failed"]


class Trial(Strict):
    """A release that runs and has not proved itself.

    Attributes:
        old: What ran before; None: nothing did.
        new: What is on trial.
        tries: Starts of the machine that it may still see; at 0 it is taken back.
        boot_id: Of the start in which it was last given a try.
        reason: Why it is being taken back; None while it still may stay.
        raise_floor: When it is committed, nothing older may ever come back.
        asked: By whom: a flash, or a person who wanted the old release back.
    """

    old: Name | None
    new: Name
    tries: Annotated[int, Field(ge=0, le=9)]
    boot_id: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(max_length=2000)] | None = None
    raise_floor: bool = False
    asked: Literal["flash", "rollback"] = "flash"


class Last(Strict):
    """What came of the last flash or rollback; `at` is UTC as the device's clock had it."""

    outcome: Outcome
    name: Name
    step: Annotated[str, Field(max_length=32)]
    reason: Annotated[str, Field(max_length=2000)] = ""
    at: Annotated[str, Field(max_length=32)]
    notes: tuple[Annotated[str, Field(max_length=500)], ...] = ()


class Journal(Strict):
    """All of it.

    Attributes:
        current: The release that is committed; None: there never was one.
        previous: The one before it, kept for a rollback.
        trial: Set while a switch is not decided.
        highest_release: Largest release number that was ever committed.
        highest_digest: First 12 digits of that bundle's digest.
        floor: Release numbers below this are refused, `--allow-downgrade` or not.
        inconsistent: Why the device needs a person; None: it does not.
        last: What happened last.
    """

    schema_version: Literal[1] = SCHEMA
    current: Name | None = None
    previous: Name | None = None
    trial: Trial | None = None
    highest_release: Annotated[int, Field(ge=0)] = 0
    highest_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{12})?$")] = ""
    floor: Annotated[int, Field(ge=0)] = 0
    inconsistent: Annotated[str, Field(max_length=2000)] | None = None
    last: Last | None = None

    def encode(self) -> bytes:
        """As it is written."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    def kept(self) -> set[str]:
        """Releases that must stay on the disk."""
        names = {self.current, self.previous}
        if self.trial is not None:
            names |= {self.trial.old, self.trial.new}
        return {name for name in names if name is not None}


def committed(journal: Journal, name: str, last: Last, *, raise_floor: bool = False) -> Journal:
    """The journal after `name` has proved itself."""
    number, _, digest = name.partition("-")
    release = int(number)
    rose = release > journal.highest_release
    return journal.model_copy(
        update={
            "previous": journal.current if journal.current != name else journal.previous,
            "current": name,
            "trial": None,
            "highest_release": max(release, journal.highest_release),
            "highest_digest": digest if rose else journal.highest_digest,
            "floor": max(journal.floor, release) if raise_floor else journal.floor,
            "inconsistent": None,
            "last": last,
        }
    )


def read_journal(home: Home) -> Journal:
    """The journal; an empty one where nothing was ever flashed.

    Raises:
        DataError: It is damaged, which a power cut alone cannot do.
    """
    where = str(home.journal)
    mend = "the disk may be failing (dmesg); `vigil device recover` makes a new one from `current`"
    try:
        with home.journal.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Journal()
    except OSError as error:
        raise DataError(
            f"the journal cannot be read: {error.strerror}", where=where, mend="as root, or dmesg"
        ) from error
    try:
        raw = decode_json(data[:MAX_BYTES], what="the journal", where=where, integers_only=True)
        check_schema(raw, known=SCHEMA, where=where)
        return Journal.model_validate_json(data)
    except ValidationError as error:
        raise DataError(explain(error), where=where, mend=mend) from error
    except DataError as error:
        raise DataError(error.what, where=where, mend=mend) from error


def write_journal(disk: Disk, home: Home, journal: Journal) -> None:
    """Replace the journal, durably."""
    replace_file(disk, home.journal, journal.encode())
