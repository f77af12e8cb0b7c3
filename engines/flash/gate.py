"""Whether a release that was just switched to is well; observations in, a verdict out.

Rules, for each daemon:

1. It becomes ready within `ready_s`, does not fail, and is not started again by the service manager.
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

from engines.flash.services import Standing

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
        ready_until_s = self.started_s + self.patience.ready_s
        if standing.active != "active":
            return "not ready", ready_until_s
        health = standing.health
        since_s = self._ready_s.setdefault(name, now_s)
        until_s = since_s + self.patience.frames_s
        before = self.before.get(name, Before())
        if health is None:
            known = before.live or before.connected
            return ("tells nothing of its health" if known else None), until_s
        if self.digest is not None and health.bundle != self.digest:
            return f"runs bundle {health.bundle[:12]}, not {self.digest[:12]}", until_s
        away = sorted(before.live - health.live)
        if away:
            return f"no frames from {', '.join(away)}, which gave some before", until_s
        few = sorted(n for n in before.live if health.scores.get(n, 0) < FRAMES)
        if few:
            return f"fewer than {FRAMES} frames of {', '.join(few)} are scored", until_s
        if before.connected and health.connected is False:
            return "no connection to the broker, where there was one before", until_s
        return None, until_s

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
