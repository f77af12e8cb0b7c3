"""From a received bundle to a committed release: the order of the steps, on the device.

    verify -> preflight -> stage -> prove -> engine -> switch -> gate -> commit
                                                                       or roll back -> gate the old

Up to `switch` nothing that runs is touched, and any failure leaves the old release running. From
`switch` on the journal says `trial`, and whoever finds that (this process, the next one, the next
start of the machine) ends it: committed, or taken back.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from engines.errors import DataError, UsageError, VigilError
from engines.flash.acceptance import require_acceptable
from engines.flash.disk import Disk, point, told
from engines.flash.gate import Before, Gate, Patience, Verdict
from engines.flash.home import Home, digest_of
from engines.flash.incoming import arrived
from engines.flash.journal import (
    Journal,
    Last,
    Outcome,
    Trial,
    committed,
    read_journal,
    write_journal,
)
from engines.flash.releases import lead_back, stage, sweep
from engines.flash.runtime import Ending, Runtime, Say
from engines.flash.services import Services, Standing
from engines.manifest import MANIFEST_NAME, decode_manifest
from engines.release import require_runtime
from engines.trusted_keys import TrustedKeys

TRIES: Final = 3
LOOK_EVERY_S: Final = 1.0
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Installer:
    """One device.

    Args:
        home: Where everything lies.
        disk: Durable steps.
        services: The daemons.
        runtime: The program's own tests.
        trusted: The keys that count.
        say: Told what is done.
        patience: Of the gate.
        monotonic: Seconds.
        sleep: Waits.
        boot_id: Names this start of the machine.
    """

    home: Home
    disk: Disk
    services: Services
    runtime: Runtime
    trusted: TrustedKeys
    say: Say = lambda _step, _state, _text: None
    patience: Patience = field(default_factory=Patience)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    boot_id: str = ""

    def install(
        self, digest: str, *, allow_downgrade: bool = False, raise_floor: bool = False
    ) -> Ending:
        """Make a received bundle the one that runs, or leave the old one running.

        Raises:
            RefusedError: Signature or release number.
            DataError: The bundle is damaged, or fails a test before the switch.
            CannotCreateError: No room.
            VigilError: Whatever a test of the runtime says.
        """
        self.settle()
        journal = read_journal(self.home)
        step = "verify"
        name = ""
        try:
            self.say(step, "begin", "signature, release number")
            checked = arrived(self.home, digest, self.trusted)
            require_runtime(checked.manifest, where=digest)
            require_acceptable(
                checked.manifest, journal, where=digest, allow_downgrade=allow_downgrade
            )
            name = f"{checked.manifest.release or 0}-{digest[:12]}"
            self.say(step, "done", f"{name}, signed by {', '.join(checked.signed_by)}")
            if journal.current == name and self.home.linked() == name:
                self._tidy(journal)
                return Ending("already", name)
            step = "preflight"
            self.say(step, "begin", "configurations")
            for note in self.runtime.preflight(self.home):
                self.say(step, "note", note)
            self.say(step, "done", "")
            step = "stage"
            self.say(step, "begin", f"{len(checked.manifest.files)} files")
            stage(self.home, self.disk, checked, self.home.arriving(digest), self.trusted)
            self.say(step, "done", "every file as it was signed")
            step = "prove"
            self.say(step, "begin", "golden inputs through the networks")
            self.say(step, "done", self.runtime.prove(self.home.release(name)))
            step = "engine"
            self.say(step, "begin", "TensorRT plans for this machine")
            built = self.runtime.build_engines(self.home.release(name))
            self.say(step, "skip" if built is None else "done", built or "no TensorRT here")
        except VigilError as error:
            if name:
                self._remember(journal, "failed", name, step, error.what)
            raise
        return self._switch(journal, name, asked="flash", raise_floor=raise_floor)

    def rollback(self) -> Ending:
        """Bring the release before the present one back, because a person wants it.

        Raises:
            UsageError: There is none.
            DataError: It is not whole any more.
        """
        self.settle()
        journal = read_journal(self.home)
        if journal.previous is None:
            raise UsageError(
                "there is no earlier release on this device",
                where=str(self.home.releases),
                mend="flash the bundle that you want: vigil flash BUNDLE user@device"
                " --allow-downgrade",
            )
        release = self.home.release(journal.previous)
        self.say("prove", "begin", journal.previous)
        self.say("prove", "done", self.runtime.prove(release))
        return self._switch(journal, journal.previous, asked="rollback", raise_floor=False)

    def settle(self) -> Ending:
        """End a trial that nobody watches any more: gate it, then commit or take it back."""
        journal = read_journal(self.home)
        trial = journal.trial
        if trial is None:
            return Ending("nothing", journal.current or "")
        self.say("settle", "note", f"{trial.new} is on trial since before")
        if trial.reason is not None or self.home.linked() != trial.new:
            reason = trial.reason or "the switch was broken off"
            return self._take_back(journal, trial, {}, reason)
        before = {
            one: Before(invocation=self.services.stand(one).invocation)
            for one in self.services.instances()
        }
        return self._gate(journal, trial, before)

    def _switch(
        self, journal: Journal, name: str, *, asked: Literal["flash", "rollback"], raise_floor: bool
    ) -> Ending:
        before = {one: Before.of(self.services.stand(one)) for one in self.services.instances()}
        trial = Trial(
            old=journal.current,
            new=name,
            tries=TRIES,
            boot_id=self.boot_id,
            raise_floor=raise_floor,
            asked=asked,
        )
        on_trial = journal.model_copy(update={"trial": trial})
        self.say("switch", "begin", f"{journal.current or 'nothing'} -> {name}")
        with told(self.home.root):
            write_journal(self.disk, self.home, on_trial)
            # It is staged; what it was staged from leaves room, so that on a full disk, too, the
            # decision over it can be written.
            sweep(self.home, self.disk, on_trial, arrivals=True)
            point(self.disk, self.home.current, f"releases/{name}")
        self.say("switch", "done", "")
        return self._gate(on_trial, trial, before)

    def _gate(self, journal: Journal, trial: Trial, before: dict[str, Before]) -> Ending:
        self.say("gate", "begin", "ready, and frames scored")
        try:
            verdict = self._watch(self._digest(trial.new), before)
        except VigilError as error:  # systemd itself fails: the new release is not to blame alone
            verdict = Verdict(False, error.what)
        if not verdict.well:
            return self._take_back(journal, trial, before, verdict.said)
        for note in verdict.notes:
            self.say("gate", "note", note)
        self.say("gate", "done", verdict.said)
        outcome: Outcome = "committed"
        last = self._last(outcome, trial.new, "gate", "", verdict.notes)
        done = committed(journal, trial.new, last, raise_floor=trial.raise_floor)
        with told(self.home.root):
            write_journal(self.disk, self.home, done)
        self.say("commit", "done", trial.new)
        self._tidy(done)
        return Ending("committed", trial.new, notes=verdict.notes)

    def _take_back(
        self, journal: Journal, trial: Trial, before: dict[str, Before], reason: str
    ) -> Ending:
        """The decision first, so that no power cut gives the new release another chance."""
        self.say("rollback", "begin", reason)
        decided = trial.model_copy(update={"reason": reason[:2000], "tries": 0})
        journal = journal.model_copy(update={"trial": decided})
        with told(self.home.root):
            write_journal(self.disk, self.home, journal)
            lead_back(self.disk, self.home, trial.old)
        wrong = None
        if trial.old is not None:
            now = {one: Before.of(self.services.stand(one)) for one in before}
            again = {
                one: Before(before[one].live, before[one].connected, now[one].invocation)
                for one in before
            }
            try:
                verdict = self._watch(self._digest(trial.old), again)
                wrong = None if verdict.well else verdict.said
            except VigilError as error:
                wrong = error.what
        ended = journal.model_copy(
            update={
                "trial": None,
                "inconsistent": wrong,
                "last": self._last("rolled_back", trial.new, "gate", reason),
            }
        )
        with told(self.home.root):
            write_journal(self.disk, self.home, ended)
        self._tidy(ended)
        if wrong is not None:
            raise DataError(
                f"taken back because {reason}; and the old release is not well either: {wrong}",
                where=trial.old,
                mend="journalctl -u 'vigil@*' on the device; then vigil flash a bundle that works",
            )
        self.say("rollback", "done", f"{trial.old or 'nothing'} is back")
        return Ending("rolled_back", trial.new, reason)

    def _watch(self, digest: str, before: dict[str, Before]) -> Verdict:
        names = self.services.instances()
        gate = Gate(digest, before, self.monotonic(), self.patience)
        self.services.restart(names)
        said = ""
        while True:
            standings: dict[str, Standing] = {name: self.services.stand(name) for name in names}
            verdict = gate.judge(standings, now_s=self.monotonic())
            if verdict.well is not None:
                return verdict
            words = verdict.said if not verdict.said.startswith("well for") else "well so far"
            if words != said:
                said = words
                self.say("gate", "note", f"waiting: {verdict.said}")
            self.sleep(LOOK_EVERY_S)

    def _digest(self, name: str) -> str:
        path = self.home.release(name) / MANIFEST_NAME
        try:
            return digest_of(decode_manifest(path.read_bytes(), where=str(path)))
        except OSError as error:
            raise DataError(f"it cannot be read: {error.strerror}", where=str(path)) from error

    def _remember(
        self, journal: Journal, outcome: Outcome, name: str, step: str, reason: str
    ) -> None:
        """So that `status` can tell; where even that cannot be written, the error says enough."""
        last = self._last(outcome, name, step, reason)
        try:
            # Room first: what failed may have failed for want of it.
            sweep(self.home, self.disk, journal, arrivals=False)
            write_journal(self.disk, self.home, journal.model_copy(update={"last": last}))
        except (VigilError, OSError) as error:
            self.say("journal", "note", f"not written: {error}")

    def _last(
        self, outcome: Outcome, name: str, step: str, reason: str, notes: Sequence[str] = ()
    ) -> Last:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Last(
            outcome=outcome,
            name=name,
            step=step,
            reason=reason[:2000],
            at=now,
            notes=tuple(note[:500] for note in notes),
        )

    def _tidy(self, journal: Journal) -> None:
        """Room is made last; failing at it undoes nothing."""
        try:
            sweep(self.home, self.disk, journal, arrivals=True)
        except (VigilError, OSError) as error:
            self.say("tidy", "note", f"old files stay: {error}")


def read_boot_id(path: Path = BOOT_ID) -> str:
    """Names this start of the machine; empty where the kernel does not say."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
