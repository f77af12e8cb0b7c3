"""Faults of a camera as messages: `start` when it cannot be watched, `end` when it can again.

They go the way of events, through the outbox, because the retained state of a camera knows only
how it stands now: who was away, or whose broker was, would never hear of the hour before. `kind` is
`camera`, so nobody counts them as anomalies. Rules:

1. `start` when a camera is lost, frozen or quarantined, or shows another part of the scene than
   its statistics are of. A picture that is late for a moment (`stale`) is no fault.
2. `update` when state or cause is another, at most every `UPDATE_EVERY_S`.
3. `end` when it is watched again, or watched no longer by intent.

It opens no file and sends nothing.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from edge.capture.camera_state import CameraState
from edge.clock import Clock, ClockState, rfc3339
from edge.events.event import EVENT_SCHEMA, Payload
from edge.events.identifiers import uuid7
from edge.frames import Phase

UPDATE_EVERY_S = 60.0
UNFIT = "recommission_required"

FaultEnd = Literal["recovered", "stopped", "reconfigured", "daemon_restart"]

_FAULTY: frozenset[CameraState] = frozenset({"lost", "frozen", "quarantined"})
_WORDS = {
    "open_timeout": "no picture came",
    "no_frames": "pictures have stopped",
    "picture_unchanged": "the picture does not change at all",
    "capture_failed": "it cannot be read",
    "refused": "it refuses the login",
    "no_process": "no reader can be started for it",
    "unkillable": "its reader cannot be ended; restart this device",
    "internal_error": "vigil made a mistake with it; it is tried again",
    UNFIT: "it shows another view: set its resolution back, or commission it again",
}


@dataclass(frozen=True)
class CameraFault:
    """One message about one fault of a camera.

    Attributes:
        id: UUIDv7, the same from start to end.
        phase: "start", "update" or "end".
        rev: 1 at the start, +1 with each message.
        device: Name of the device.
        camera: Name of the camera.
        started_at: Wall clock at which the fault began, UTC.
        at: Wall clock of this message's news.
        ended_at: Wall clock at which it was over; only at the end.
        duration_s: Seconds since it began, on the monotonic clock.
        state: State of the camera, as `edge.capture.camera_state` names it; at the end: the last.
        cause: Why it is in this state.
        reason: Why the fault is over; only at the end.
        clock: Whether the wall clock is known to be right.
    """

    id: str
    phase: Phase
    rev: int
    device: str
    camera: str
    started_at: datetime.datetime
    at: datetime.datetime
    ended_at: datetime.datetime | None
    duration_s: float
    state: CameraState
    cause: str
    reason: FaultEnd | None
    clock: ClockState

    def payload(self) -> Payload:
        """The JSON object of `event.schema.json`, without `stream_id` and `seq`."""
        return {
            "schema_version": EVENT_SCHEMA,
            "id": self.id,
            "phase": self.phase,
            "rev": self.rev,
            "kind": "camera",
            "severity": "low",
            "device": self.device,
            "camera": self.camera,
            "started_at": rfc3339(self.started_at),
            "at": rfc3339(self.at),
            "ended_at": None if self.ended_at is None else rfc3339(self.ended_at),
            "duration_s": round(self.duration_s, 3),
            "state": self.state,
            "cause": self.cause,
            "reason": self.reason,
            "clock": self.clock,
            "why": f"not watched: {_WORDS.get(self.cause, self.cause)}",
        }


@dataclass
class _Open:
    id: str
    state: CameraState
    cause: str
    since_s: float
    since: datetime.datetime
    said_s: float
    rev: int = 0
    said: tuple[str, str] = ("", "")


class FaultTracker:
    """One camera's faults.

    Args:
        device: Name of the device.
        camera: Name of the camera.
        clock: Time.
    """

    def __init__(self, *, device: str, camera: str, clock: Clock) -> None:
        self._device = device
        self._camera = camera
        self._clock = clock
        self._open: _Open | None = None

    def observe(
        self, state: CameraState, cause: str | None, at_s: float, *, unfit: bool = False
    ) -> list[CameraFault]:
        """The camera's state; the messages that follow from it.

        Args:
            state: As it stands.
            cause: Why, if that is not plain.
            at_s: Since when, monotonic.
            unfit: Its picture is not of the scene that it has learned.
        """
        if state in _FAULTY:
            return self._faulty(state, cause or state, at_s)
        if state != "live":
            # On its way: an open fault stays open, and a first connection is none.
            return self._update(at_s)
        if unfit:
            return self._faulty("live", UNFIT, at_s)
        return self.finish("recovered", at_s)

    def finish(self, reason: FaultEnd, at_s: float) -> list[CameraFault]:
        """It is over."""
        fault = self._open
        if fault is None:
            return []
        said = self._say(fault, "end", at_s, reason)
        self._open = None
        return [said]

    def _faulty(self, state: CameraState, cause: str, at_s: float) -> list[CameraFault]:
        if self._open is None:
            since, name = self._wall(at_s), str(uuid7(self._clock.utc()))
            self._open = _Open(name, state, cause, at_s, since, at_s)
            return [self._say(self._open, "start", at_s, None)]
        self._open.state, self._open.cause = state, cause
        return self._update(at_s)

    def _update(self, at_s: float) -> list[CameraFault]:
        fault = self._open
        if fault is None or (fault.state, fault.cause) == fault.said:
            return []
        if at_s - fault.said_s < UPDATE_EVERY_S:
            return []
        return [self._say(fault, "update", at_s, None)]

    def _say(self, fault: _Open, phase: Phase, at_s: float, reason: FaultEnd | None) -> CameraFault:
        fault.rev += 1
        fault.said, fault.said_s = (fault.state, fault.cause), at_s
        at = self._wall(at_s)
        return CameraFault(
            id=fault.id,
            phase=phase,
            rev=fault.rev,
            device=self._device,
            camera=self._camera,
            started_at=fault.since,
            at=at,
            ended_at=at if phase == "end" else None,
            duration_s=max(0.0, at_s - fault.since_s),
            state=fault.state,
            cause=fault.cause,
            reason=reason,
            clock=self._clock.state(),
        )

    def _wall(self, at_s: float) -> datetime.datetime:
        return self._clock.utc() - datetime.timedelta(seconds=self._clock.monotonic() - at_s)
