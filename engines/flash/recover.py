"""What a device does before its daemons start: whatever a power cut left becomes old or new, whole.

Rules:

1. No trial: `current` leads where the journal says; if that release is damaged, to the one before.
2. A trial that is being taken back: `current` leads to the old release; the trial is over.
3. A trial with tries left, after a restart of the machine: one try less, `current` leads to the new
   release if that is whole, and `vigil-settle.service` gates it. No tries left: rule 2.
4. Half-staged releases and what the journal does not keep are removed. What was being received
   stays: the transfer goes on from there.
5. A journal that cannot be read is set aside, and a new one is made from what `current` leads to.
"""

from __future__ import annotations

import datetime

from engines.errors import DataError
from engines.flash.disk import Disk, point, told
from engines.flash.home import Home
from engines.flash.journal import Journal, Last, Trial, read_journal, write_journal
from engines.flash.releases import is_whole, lead_back, sweep


def recover(home: Home, disk: Disk, *, boot_id: str) -> tuple[Journal, list[str]]:
    """Make the device whole; the journal as it then is, and what was done in words.

    Args:
        home: Of the device.
        disk: Does it.
        boot_id: Names this start of the machine.

    Raises:
        DataError: No release is whole; the device needs a flash.
        CannotCreateError: The disk cannot be written.
    """
    said: list[str] = []
    with told(home.root):
        journal = _readable(home, disk, said)
        if journal.trial is not None:
            journal = _decide(home, disk, journal, journal.trial, boot_id, said)
        if journal.trial is None:
            journal = _lead_to_current(home, disk, journal, said)
        sweep(home, disk, journal, arrivals=False)
    return journal, said


def _readable(home: Home, disk: Disk, said: list[str]) -> Journal:
    try:
        return read_journal(home)
    except DataError as error:
        said.append(f"{error.what}; a new journal is made")
        disk.rename(home.journal, home.journal.with_name("state.json.bad"))
        name = home.linked()
        number, _, digest = (name or "0-").partition("-")
        journal = Journal(current=name, highest_release=int(number), highest_digest=digest)
        write_journal(disk, home, journal)
        return journal


def _decide(
    home: Home, disk: Disk, journal: Journal, trial: Trial, boot_id: str, said: list[str]
) -> Journal:
    """Rules 2 and 3."""
    reason = trial.reason
    if reason is None and trial.boot_id != boot_id:
        trial = trial.model_copy(update={"tries": max(0, trial.tries - 1), "boot_id": boot_id})
    if reason is None and not is_whole(home.release(trial.new)):
        reason = "it is damaged on the disk"
    if reason is None and trial.tries == 0:
        reason = "the machine was started again and again while it was on trial"
    if reason is None:
        journal = journal.model_copy(update={"trial": trial})
        write_journal(disk, home, journal)
        if home.linked() != trial.new:
            point(disk, home.current, f"releases/{trial.new}")
        said.append(f"{trial.new} is on trial, {trial.tries} tries left")
        return journal
    said.append(f"{trial.new} is taken back: {reason}")
    if home.linked() != trial.old:
        lead_back(disk, home, trial.old)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    last = Last(outcome="rolled_back", name=trial.new, step="recover", reason=reason, at=now)
    journal = journal.model_copy(update={"trial": None, "last": last})
    write_journal(disk, home, journal)
    return journal


def _lead_to_current(home: Home, disk: Disk, journal: Journal, said: list[str]) -> Journal:
    """Rule 1."""
    if journal.current is None:
        return journal
    if is_whole(home.release(journal.current)):
        if home.linked() != journal.current:
            said.append(f"current leads to {journal.current} again")
            point(disk, home.current, f"releases/{journal.current}")
        return journal
    if journal.previous is None or not is_whole(home.release(journal.previous)):
        raise DataError(
            f"release {journal.current} is damaged on the disk, and there is no other",
            where=str(home.releases),
            mend="flash a bundle: vigil flash BUNDLE user@device; and look at the disk: dmesg",
        )
    said.append(f"{journal.current} is damaged on the disk: {journal.previous} takes its place")
    point(disk, home.current, f"releases/{journal.previous}")
    journal = journal.model_copy(update={"current": journal.previous, "previous": None})
    write_journal(disk, home, journal)
    return journal
