"""Feeds the service manager's watchdog, and only while frames move through to a score.

Rules:

1. A beat is sent by the daemon's own loop, at most every third of the watchdog's period. A loop
   that stands still sends none.
2. A beat needs a score since the one before. While no camera gives one for `PROBE_AFTER_S`, a frame
   made here goes through the networks in its place: cameras that are away are no reason to end the
   others, a pipeline that hangs is.
3. Every camera's supervisor must keep its own deadlines. One that has left its camera for longer in
   a state than that state may last hangs, and there is no beat: a camera that is called live gives
   frames, or it is called stale in time.
4. An observer that fails is told nothing more (`edge.observer`), so a probe that fails ends the
   beats, too.

`READY=1` is sent at the end of the loop's first turn: configuration, outbox, networks and their
parity are behind it, and every supervisor runs. Cameras may still be connecting. Reading the
configuration again is `RELOADING=1`, and `READY=1` when it is in force or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from edge.capture.camera_state import CameraState, Patience
from edge.capture.process import KILL_S, TERMINATE_S
from edge.clock import Clock
from edge.frames import Frame, ScoreMap
from edge.notify import Notifier
from edge.observer import CameraStatus, Observer
from engines.errors import VigilError

PROBE_AFTER_S = 5.0
STATUS_EVERY_S = 10.0
BEATS_PER_PERIOD = 3.0
# Ending a capture process may take this long, and a loaded machine is late.
GRACE_S = TERMINATE_S + KILL_S + 20.0
_PERIODS_PER_FRAME = 5.0  # as in edge.capture.camera_state, rule 3

_log = structlog.get_logger()


@dataclass
class _Standing:
    """A camera's state, and since when (monotonic seconds) it has it or gave its last score."""

    status: CameraStatus
    since_s: float


class Watchdog(Observer):
    """Tells the service manager that the daemon is well, while it is.

    Args:
        notifier: The channel.
        clock: Time.
        probe: Puts a frame of our own through the networks; raises if that fails.
        period_s: Live cameras are looked at this often.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        clock: Clock,
        probe: Callable[[], None],
        period_s: float = 0.0,
    ) -> None:
        self._notifier = notifier
        self._clock = clock
        self._probe = probe
        self._period_s = period_s
        self._cameras: dict[str, _Standing] = {}
        self._ready = False
        self._moved = False
        self._moved_s = self._beat_s = self._status_s = clock.monotonic()
        self._scores = 0
        self._late: str | None = None
        self._refused: str | None = None

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """Remember the cameras."""
        for status in cameras:
            self.camera_changed(status)
        self._moved_s = self._beat_s = self._status_s = self._clock.monotonic()

    def reloading(self) -> None:
        """The manager shows it, and holds back what waits for the reload."""
        self._notifier.reloading()

    def regrouped(self, cameras: Iterable[CameraStatus]) -> None:
        """The reload is over. Whoever has gone has no deadline any more."""
        statuses = list(cameras)
        names = {status.name for status in statuses}
        self._cameras = {name: one for name, one in self._cameras.items() if name in names}
        for status in statuses:
            if status.name not in self._cameras:
                self.camera_changed(status)
        self._refused = None
        self._notifier.ready()

    def config_refused(self, error: VigilError) -> None:
        """The reload is over. Say it where a person looks, until the file is mended."""
        self._refused = f"new configuration refused, the one before goes on: {error.what}"
        self._notifier.status(self._refused)
        self._status_s = self._clock.monotonic()
        self._notifier.ready()

    def camera_changed(self, status: CameraStatus) -> None:
        """Its deadline begins anew."""
        self._cameras[status.name] = _Standing(status, self._clock.monotonic())

    def scored(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
        """Something has moved."""
        del frame, scored
        now_s = self._clock.monotonic()
        self._moved, self._moved_s = True, now_s
        self._scores += 1
        if camera in self._cameras:
            self._cameras[camera].since_s = now_s

    def turned(self) -> None:
        """The loop turns: probe, beat and status as they fall due."""
        now_s = self._clock.monotonic()
        if not self._ready:
            self._ready = True
            self._notifier.ready()
            self._tell_status(now_s)
        if now_s - self._moved_s >= PROBE_AFTER_S:
            self._probe()
            # The time after it: a slow probe must not follow on itself.
            self._moved, self._moved_s = True, self._clock.monotonic()
        self._beat(now_s)
        if now_s - self._status_s >= STATUS_EVERY_S:
            self._tell_status(now_s)

    def stopping(self) -> None:
        """The end has begun; `TimeoutStopSec` counts now."""
        self._notifier.stopping()
        self._notifier.status("ending")

    @property
    def beat_age_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock.monotonic() - self._beat_s

    def _beat(self, now_s: float) -> None:
        period_s = self._notifier.watchdog_s
        if period_s is None or now_s - self._beat_s < period_s / BEATS_PER_PERIOD:
            return
        if not self._moved:
            return
        late = next((n for n in self._cameras if self._is_late(n, now_s)), None)
        if late is not None:
            self._tell_late(late)
            return
        self._late = None
        self._notifier.alive()
        self._moved, self._beat_s = False, now_s

    def _is_late(self, name: str, now_s: float) -> bool:
        standing = self._cameras[name]
        patience = standing.status.patience
        if patience is None:  # a recording: read in the daemon's own loop
            return False
        allowed_s = _longest_s(standing.status, patience, self._period_s)
        return allowed_s is not None and now_s - standing.since_s > allowed_s + GRACE_S

    def _tell_late(self, name: str) -> None:
        if self._late == name:
            return
        self._late = name
        status = self._cameras[name].status
        _log.error("supervisor_late", camera=name, state=status.state)
        self._notifier.status(f"no beat: the supervisor of {name} hangs in state {status.state}")

    def _tell_status(self, now_s: float) -> None:
        seconds = now_s - self._status_s
        rate = self._scores / seconds if seconds > 0 else 0.0
        states = [standing.status for standing in self._cameras.values()]
        live = sum(status.state == "live" for status in states)
        away = ", ".join(f"{s.name} {s.state}" for s in states if s.state != "live")
        said = [f"{live}/{len(states)} live, {rate:.1f} scores/s", away, self._refused]
        self._notifier.status("; ".join(part for part in said if part))
        self._status_s, self._scores = now_s, 0


def _longest_s(status: CameraStatus, patience: Patience, look_s: float) -> float | None:
    """How long a camera may stay in its state (live: without a score); None: as it likes."""
    if "recommission_required" in status.flags:
        return None  # live, and not scored
    period_s = 0.0 if not status.fps else 1.0 / status.fps
    limits: dict[CameraState, float] = {
        "live": max(patience.stale_s, _PERIODS_PER_FRAME * max(period_s, look_s)),
        "connecting": patience.connect_s,
        "stale": patience.lost_s,
        "lost": 0.0,
        "backoff": patience.backoff_max_s,
        "quarantined": patience.quarantine_s,
    }
    return limits.get(status.state)
