"""One bundle onto one device, from the workstation: offer, send what is missing, install, report.

A connection that breaks is made again: the transfer goes on where it broke off, and an
installation, which needs no connection, is asked for its result. The device decides; here it is
only told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engines.errors import DataError, RefusedError, TemporaryError, VigilError
from engines.flash.link import PROGRAM, Device, Say
from engines.flash.outgoing import LocalBundle, encode_offer, send_blobs
from engines.flash.remote import LostError, Remote
from engines.flash.report import Report, take_ending

RETRY_EVERY_S: Final = 2.0


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
        allow_downgrade: Take an older release on purpose.
        raise_floor: Never take anything older after this.
        program: The device's `vigil`, and arguments that come before its subcommand.
        patient_s: How long a lost connection is tried again without any progress, in seconds.
    """

    allow_downgrade: bool = False
    raise_floor: bool = False
    program: Sequence[str] = (PROGRAM, "device")
    patient_s: float = 120.0


class Push:
    """One device's flash.

    Args:
        remote: The device, connected by the caller.
        bundle: What to send.
        options: What the user chose.
        say: Told what happens.
        sleep: Waits.
        monotonic: Seconds.
    """

    def __init__(
        self,
        remote: Remote,
        bundle: LocalBundle,
        options: Options,
        *,
        say: Say = lambda _step, _state, _text: None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = Device(remote, options.program)
        self._remote = remote
        self._bundle = bundle
        self._options = options
        self._say = say
        self._sleep = sleep
        self._now = monotonic
        self._report = Report(remote.target, "failed", bundle.name)

    def run(self) -> Report:
        """Do it; whatever happens is in the report."""
        began_s = self._now()
        report = self._report
        try:
            self._flash()
        except LostError as error:
            report.outcome, report.reason, report.error = "unreachable", error.what, error
        except VigilError as error:
            if report.outcome != "rolled_back":
                report.outcome = "refused" if isinstance(error, RefusedError) else "failed"
            report.reason, report.error = error.what, error
        report.seconds = self._now() - began_s
        return report

    def _flash(self) -> None:
        offer = self._offer()
        if offer["installed"]:
            self._report.outcome = "already"
            return
        self._copy(offer)
        self._install(offer["last"])

    def _offer(self) -> dict[str, Any]:
        flags = ["--allow-downgrade"] if self._options.allow_downgrade else []
        data = encode_offer(self._bundle.manifest_bytes, self._bundle.signatures)
        found = self._device.ask("offer", ["offer", *flags], data=data)
        if not isinstance(found, dict) or found.get("digest") != self._bundle.digest:
            raise DataError("the device answers for another bundle", where=self._remote.target)
        return found

    def _copy(self, offer: dict[str, Any]) -> None:
        """Send until nothing is missing; progress starts the patience anew."""
        sizes = {entry.sha256: entry.size for entry in self._bundle.manifest.files}
        deadline_s, before = self._now() + self._options.patient_s, -1
        while missing := self._missing(offer, sizes):
            left = sum(sizes[sha256] - offset for sha256, offset in missing.items())
            if 0 <= before != left:
                deadline_s = self._now() + self._options.patient_s
            before = left
            try:
                self._send(missing, left)
                break
            except (LostError, TemporaryError) as error:
                if self._now() > deadline_s:
                    raise
                self._say("copy", "note", f"{error.what}; trying again")
                self._report.resumed += 1
                offer = self._reconnect(deadline_s)
        self._say("copy", "done", f"{self._report.sent_bytes / 1e6:.1f} MB sent")

    def _missing(self, offer: dict[str, Any], sizes: dict[str, int]) -> dict[str, int]:
        raw = offer["missing"]
        return {
            sha256: offset
            for sha256, offset in raw.items()
            if type(offset) is int and 0 <= offset <= sizes.get(sha256, -1)
        }

    def _reconnect(self, deadline_s: float) -> dict[str, Any]:
        while True:
            self._remote.disconnect()
            self._sleep(RETRY_EVERY_S)
            try:
                return self._offer()
            except (LostError, TemporaryError):  # gone still, or the old receiver holds the lock
                if self._now() > deadline_s:
                    raise

    def _send(self, missing: dict[str, int], left: int) -> None:
        began_s, sent = self._now(), 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            self._report.sent_bytes += size
            seconds = max(self._now() - began_s, 1e-3)
            self._say(
                "copy",
                "progress",
                f"{100 * sent // max(left, 1)} %  {sent / 1e6:.1f} of {left / 1e6:.1f} MB,"
                f" {sent / 1e6 / seconds:.1f} MB/s",
            )

        self._device.ask(
            "received",
            ["receive", self._bundle.digest],
            write=lambda stream: send_blobs(
                stream, self._bundle.root, self._bundle.manifest.files, missing, count
            ),
            timeout_s=None,
        )

    def _install(self, before: Any) -> None:
        flags = ["--allow-downgrade"] if self._options.allow_downgrade else []
        flags += ["--raise-floor"] if self._options.raise_floor else []
        command = ["install", self._bundle.digest, *flags]
        deadline_s = self._now() + self._options.patient_s
        while True:
            try:
                ending = self._device.ask("ending", command, say=self._say, timeout_s=None)
            except LostError as error:
                self._say("install", "note", f"{error.what}; the device goes on by itself")
                ending = self._after_loss(before)
            if ending is not None:
                break
            if self._now() > deadline_s:
                raise LostError(
                    "the connection broke before the device had begun; the old release runs",
                    where=self._remote.target,
                    mend="flash it again",
                )
            self._say("install", "note", "the device had not begun; trying again")
        take_ending(self._report, ending)

    def _after_loss(self, before: Any) -> dict[str, Any] | None:
        """Ask until the device has ended what it began; None: it never began.

        Raises:
            LostError: It cannot be reached for as long as the patience lasts.
        """
        deadline_s = self._now() + self._options.patient_s
        while True:
            self._remote.disconnect()
            self._sleep(RETRY_EVERY_S)
            try:
                status = self._device.ask("status", ["status"])
            except (LostError, TemporaryError):
                if self._now() > deadline_s:
                    raise
                continue
            journal = status["journal"] or {}
            last = journal.get("last")
            if status["busy"] or journal.get("trial"):
                deadline_s = self._now() + self._options.patient_s
                continue
            if last is not None and last != before and last["name"] == self._bundle.name:
                return {**last, "notes": list(last["notes"])}
            return None
