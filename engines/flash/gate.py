"""Whether a release that was just switched to is well; observations in, a verdict out.

Rules, for each daemon:

1. It becomes ready within `ready_s`, does not fail, and is not started again by systemd.
2. It says itself that it runs the new bundle, where it says anything.
3. Cameras that gave frames before give frames again within `frames_s`, and at least `FRAMES` of
   each are scored. On a first flash, where none is known to work, no camera has to; that is told.
4. A connection to the broker that was there before is there again.
5. All of this still holds `steady_s` after it held first.

A daemon that ends by itself and without an error (its recording is over) has done its work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from engines.flash.services import Health, Standing

FRAMES: Final = 5


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds."""

    ready_s: float = 300.0
    frames_s: float = 60.0
    steady_s: float = 15.0


@dataclass(frozen=True)
class Before:
    """How a daemon stood before the switch."""

    live: frozenset[str] = frozenset()
    connected: bool = False
    invocation: str = ""

    @classmethod
    def of(cls, standing: Standing) -> Before:
        """What must be so again."""
        health = standing.health
        if health is None or standing.active != "active":
            return cls(invocation=standing.invocation)
        return cls(health.live, bool(health.connected), standing.invocation)


@dataclass(frozen=True)
class Verdict:
    """`well` None: not decided yet, and `said` is what is waited for."""

    well: bool | None
    said: str
    notes: tuple[str, ...] = ()


@dataclass
class Gate:
    """One switch.

    Args:
        digest: Of the bundle that must run; None: it is not looked at.
        before: Each daemon as it was.
        started_s: When they were started anew.
        patience: How long to wait.
    """

    digest: str | None
    before: Mapping[str, Before]
    started_s: float
    patience: Patience = field(default_factory=Patience)
    _ready_s: dict[str, float] = field(default_factory=dict)
    _well_since_s: float | None = None

    def judge(self, standings: Mapping[str, Standing], *, now_s: float) -> Verdict:
        """Look at all daemons once."""
        waiting = []
        for name, standing in standings.items():
            invocation = self.before.get(name, Before()).invocation
            if invocation and standing.invocation == invocation:
                lack: str | None = "is still what ran before"
                limit_s = self.started_s + self.patience.ready_s
            elif (wrong := _broken(standing)) is not None:
                return Verdict(False, f"{name}: {wrong}")
            else:
                lack, limit_s = self._lack(name, standing, now_s)
            if lack is None:
                continue
            if now_s > limit_s:
                return Verdict(False, f"{name}: {lack}{_told(standing)}")
            waiting.append(f"{name}: {lack}")
        if waiting:
            self._well_since_s = None
            return Verdict(None, "; ".join(waiting))
        if self._well_since_s is None:
            self._well_since_s = now_s
        steady_s = now_s - self._well_since_s
        if standings and steady_s < self.patience.steady_s:
            return Verdict(None, f"well for {steady_s:.0f} of {self.patience.steady_s:.0f} s")
        return Verdict(True, "well", self._notes(standings))

    def _lack(self, name: str, standing: Standing, now_s: float) -> tuple[str | None, float]:
        """What is still missing, and until when it may be."""
        if standing.active == "inactive":
            return None, 0.0  # ended by itself, or `_broken` has told
        if standing.active != "active":
            return "not ready", self.started_s + self.patience.ready_s
        since_s = self._ready_s.setdefault(name, now_s)
        before = self.before.get(name, Before())
        return _unhealthy(standing.health, before, self.digest), since_s + self.patience.frames_s

    def _notes(self, standings: Mapping[str, Standing]) -> tuple[str, ...]:
        if not standings:
            return ("no daemon is enabled here: nothing was started, nothing was tried",)
        notes = []
        for name, standing in standings.items():
            if standing.active == "inactive":
                notes.append(f"{name}: has ended by itself, without an error")
            elif standing.health is None:
                notes.append(f"{name}: ready; it tells nothing of its cameras")
            elif not standing.health.live:
                notes.append(f"{name}: ready, but no camera gives frames, as before")
        return tuple(notes)


def _unhealthy(health: Health | None, before: Before, digest: str | None) -> str | None:
    """What a daemon that is ready does not do, or does not do any more."""
    if health is None:
        known = before.live or before.connected
        return "tells nothing of its health" if known else None
    away = sorted(before.live - health.live)
    few = sorted(name for name in before.live if health.scores.get(name, 0) < FRAMES)
    wrong = {
        f"runs bundle {health.bundle[:12]}, not {(digest or '')[:12]}": digest
        not in {None, health.bundle},
        f"no frames from {', '.join(away)}, which gave some before": bool(away),
        f"fewer than {FRAMES} frames of {', '.join(few)} are scored": bool(few),
        "no connection to the broker, where there was one before": before.connected
        and health.connected is False,
    }
    return next((words for words, true in wrong.items() if true), None)


def _broken(standing: Standing) -> str | None:
    """What no waiting mends."""
    if standing.active == "failed":
        return f"failed ({standing.result}, exit code {standing.exit_status}){_told(standing)}"
    if standing.sub == "auto-restart" or standing.restarts:
        return (
            f"ended by itself and was started again (exit code {standing.exit_status})"
            f"{_told(standing)}"
        )
    if standing.active == "inactive" and not standing.condition:
        return "was not started: a condition of its unit does not hold"
    return None


def _told(standing: Standing) -> str:
    return f"; it says: {standing.status}" if standing.status else ""
