"""One bundle onto one device, from the workstation: offer, send what is missing, install, report.

A connection that breaks is made again: the transfer goes on where it broke off, and an
installation, which needs no connection, is asked for its result. The device decides; here it is
only told.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from engines.bundle_check import check_bundle, read_signatures
from engines.bundle_files import read_bounded
from engines.errors import DataError, RefusedError, TemporaryError, VigilError
from engines.flash.home import digest_of, release_name
from engines.flash.incoming import encode_offer, send_blobs
from engines.flash.remote import Done, LostError, Remote
from engines.flash.words import error_from, error_json, printable
from engines.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest

PROGRAM: Final = "/opt/vigil/runtime/bin/vigil"
RETRY_EVERY_S: Final = 2.0
QUICK_S: Final = 120.0  # offer and status; a slow board may take seconds to start Python

Outcome = Literal[
    "committed", "already", "rolled_back", "refused", "failed", "unreachable", "not_tried"
]
Say = Callable[[str, str, str], None]
"""Told step, state and words."""


@dataclass(frozen=True)
class LocalBundle:
    """A signed bundle on the workstation, checked."""

    root: Path
    manifest: Manifest
    manifest_bytes: bytes
    signatures: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of its manifest."""
        return digest_of(self.manifest)

    @property
    def name(self) -> str:
        """Its folder's name on devices."""
        return release_name(self.manifest)


def open_local(root: Path) -> LocalBundle:
    """Check a bundle here first: a damaged one need not travel.

    Raises:
        RefusedError: It is not signed.
        DataError: It is not whole.
        InputMissingError: There is no bundle.
    """
    manifest = check_bundle(root).manifest
    signatures = read_signatures(root)
    if signatures is None:
        raise RefusedError(
            "the bundle is not signed, and devices take only signed ones",
            where=str(root),
            mend=f"vigil bundle sign {root} --key NAME.key",
        )
    data = read_bounded(root, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    return LocalBundle(root, manifest, data, signatures)


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


@dataclass
class Report:
    """What came of one device."""

    target: str
    outcome: Outcome
    release: str = ""
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    sent_bytes: int = 0
    resumed: int = 0
    error: VigilError | None = None

    @property
    def well(self) -> bool:
        """The device runs what it was to run."""
        return self.outcome in {"committed", "already"}

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "target": self.target,
            "outcome": self.outcome,
            "release": self.release,
            "reason": self.reason,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
            "sent_bytes": self.sent_bytes,
            "resumed": self.resumed,
            "error": None if self.error is None else error_json(self.error),
        }


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
        try:
            ending = self._device.ask("ending", command, say=self._say, timeout_s=None)
        except LostError as error:
            self._say("install", "note", f"{error.what}; the device goes on by itself")
            ending = self._after_loss(before)
        take_ending(self._report, ending)

    def _after_loss(self, before: Any) -> dict[str, Any]:
        """Ask until the device has ended what it began, or for the patience to end."""
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
            raise LostError(
                "the connection broke before the device had begun; the old release runs",
                where=self._remote.target,
                mend="flash it again",
            )


def take_ending(report: Report, ending: Any) -> None:
    """Write what the device says of its installation into a report.

    Raises:
        DataError: It was rolled back, or failed.
    """
    outcome = str(ending.get("outcome"))
    report.notes += [printable(str(note), 500) for note in ending.get("notes", [])]
    if outcome in {"committed", "already"}:
        report.outcome = "committed" if outcome == "committed" else "already"
        report.release = printable(str(ending.get("name", report.release)), 64)
        return
    reason = printable(str(ending.get("reason", "it did not say why")))
    if outcome == "rolled_back":
        report.outcome = "rolled_back"
        raise DataError(
            f"rolled back, the old release runs: {reason}",
            where=report.target,
            mend="journalctl -u 'vigil@*' on the device tells more",
        )
    raise DataError(f"not installed, the old release runs: {reason}", where=report.target)


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
        write: Callable[[Any], None] | None = None,
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


def _put(stream: Any, data: bytes) -> None:
    stream.write(data)


def _unclear(target: str, done: Done) -> VigilError:
    last = printable((done.err.strip().splitlines() or ["nothing"])[-1], 300)
    return DataError(
        f"the device's program ended with code {done.code} and said: {last}",
        where=target,
        mend=f"is its vigil as new as this one? vigil provision {target}",
    )
