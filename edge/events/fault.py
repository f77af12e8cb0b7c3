"""Faults of a camera as messages: `start` when it cannot be watched, `end` when it can again.

They go the way of events, through the outbox, because the retained state of a camera knows only
how it stands now: who was away, or whose broker was, would never hear of the hour before. `kind` is
`camera`, so nobody counts them as anomalies. Rules:

1. `start` when a camera is lost, frozen or quarantined, shows another part of the scene than its
   statistics are of, or a picture of which most counts as changed (`edge.events.lasting`). A
   picture that is late for a moment (`stale`) is no fault.
2. `update` when state or cause is another, at most every `UPDATE_EVERY_S`; what comes sooner is
   said when that time is over, if it still holds.
3. `end` when it is watched again, or watched no longer by intent.

It opens no file and sends nothing.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from edge.capture.camera_state import CameraState
from edge.clock import Clock
from edge.events.happening import Happening, Payload
from edge.events.identifiers import uuid7
from edge.frames import Phase

UPDATE_EVERY_S = 60.0
UNFIT = "recommission_required"
CHANGED = "scene_changed"

FaultEnd = Literal["recovered", "stopped", "reconfigured", "daemon_restart"]

_FAULTY: frozenset[CameraState] = frozenset({"lost", "frozen", "quarantined"})
_LOOK = "check its power, its cable and its address"
# Cause: what it means, and what mends it.
_WORDS = {
    "open_timeout": ("no picture came", _LOOK),
    "no_frames": ("pictures have stopped", _LOOK),
    "picture_unchanged": ("the picture does not change at all", "restart the camera"),
    "capture_failed": ("it cannot be read", _LOOK),
    "refused": ("it refuses the login", "check user and password; some cameras lock accounts"),
    "no_process": ("no reader can be started for it", "this device is out of memory or processes"),
    "unkillable": ("its reader cannot be ended", "unplug the camera, or restart this device"),
    "internal_error": ("vigil made a mistake with it", "it is tried again; report it with the log"),
    UNFIT: ("it shows another view", "set its resolution back, or commission it again"),
    CHANGED: (
        "most of the picture has looked unlike normal for minutes",
        "check its light, its lens and its aim; if this is normal now, commission it again",
    ),
}


@dataclass(frozen=True)
class CameraFault(Happening):
    """One message about one fault of a camera; what is not here: `Happening`.

    Attributes:
        reason: Why the fault is over; only at the end.
        state: State of the camera, as `edge.capture.camera_state` names it; at the end: the last.
        cause: Why it is in this state.
    """

    reason: FaultEnd | None
    state: CameraState
    cause: str

    @property
    def why(self) -> str:
        """State and cause in words, and what mends them."""
        words, mend = _WORDS.get(self.cause, (self.cause, ""))
        return f"not watched: {words}" + (f"; {mend}" if mend else "")

    def payload(self) -> Payload:
        """The JSON object of `event.schema.json`, without `stream_id` and `seq`."""
        return {
            **self.header(kind="camera", severity="low"),
            "state": self.state,
            "cause": self.cause,
            "why": self.why,
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
        self, state: CameraState, cause: str | None, at_s: float, *, unfit: str | None = None
    ) -> list[CameraFault]:
        """The camera's state; the messages that follow from it.

        Args:
            state: As it stands.
            cause: Why, if that is not plain.
            at_s: Since when, monotonic.
            unfit: Why its live picture cannot be watched: `UNFIT` or `CHANGED`.
        """
        if state in _FAULTY:
            return self._faulty(state, cause or state, at_s)
        if state != "live":
            # On its way: an open fault stays open, and a first connection is none.
            return self._update(at_s)
        if unfit is not None:
            return self._faulty("live", unfit, at_s)
        return self.finish("recovered", at_s)

    def turn(self, now_s: float) -> list[CameraFault]:
        """Let time pass: what was held back may be due."""
        return self._update(now_s)

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
