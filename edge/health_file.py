"""How the daemon stands, in a file that the service manager's side reads: flashing and `status`.

`health.json` in the runtime folder (`/run/vigil/NAME`, in memory, gone with the daemon) is replaced
every few seconds; `last_event.json` in the state folder outlives it. Both are small and bounded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from edge.clock import Clock, rfc3339
from edge.events.event import Event, ModelInfo
from edge.frames import Frame, ScoreMap
from edge.observer import CameraStatus, Observer
from edge.vitals import Vitals
from engines.atomic import write_bytes
from engines.errors import VigilError
from engines.flash.services import HEALTH_FILE

FOLDER_VARIABLE = "RUNTIME_DIRECTORY"  # set by systemd where a unit has a runtime folder
LAST_EVENT = "last_event.json"
WRITE_EVERY_S = 2.0

_log = structlog.get_logger()


class HealthFile(Observer):
    """Writes the two files.

    Args:
        folder: Of `health.json`.
        state: Folder of `last_event.json`.
        model: What is run.
        clock: Time.
        vitals: How the daemon stands as a whole.
    """

    def __init__(
        self,
        *,
        folder: Path,
        state: Path,
        model: ModelInfo,
        clock: Clock,
        vitals: Callable[[], Vitals],
    ) -> None:
        self._path = folder / HEALTH_FILE
        self._last_path = state / LAST_EVENT
        self._model = model
        self._clock = clock
        self._vitals = vitals
        self._cameras: dict[str, CameraStatus] = {}
        self._scores: dict[str, int] = {}
        self._events = 0
        self._write_at_s = 0.0

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """Remember the cameras."""
        for status in cameras:
            self.camera_changed(status)

    def camera_changed(self, status: CameraStatus) -> None:
        """Remember its state, and tell it soon."""
        self._cameras[status.name] = status
        self._scores.setdefault(status.name, 0)
        self._write_at_s = 0.0

    def scored(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
        """Count."""
        del frame, scored
        self._scores[camera] = self._scores.get(camera, 0) + 1

    def event(self, event: Event) -> None:
        """Keep what `status` shows as the last alarm."""
        self._events += event.phase == "start"
        if event.phase not in {"start", "end"}:
            return
        payload = event.payload()
        shown = (
            "id",
            "phase",
            "camera",
            "started_at",
            "ended_at",
            "peak_score",
            "threshold",
            "why",
        )
        kept = {key: payload[key] for key in shown if key in payload}
        _write(self._last_path, kept)

    def turned(self) -> None:
        """Write as it falls due."""
        now_s = self._clock.monotonic()
        if now_s < self._write_at_s:
            return
        self._write_at_s = now_s + WRITE_EVERY_S
        _write(self._path, self._content())

    def _content(self) -> dict[str, Any]:
        vitals, model = self._vitals(), self._model
        return {
            "schema_version": 1,
            "pid": os.getpid(),
            "at": rfc3339(self._clock.utc()),
            "clock": self._clock.state(),
            "vigil": model.release,
            "name": model.name,
            "bundle": model.bundle,
            "precision": model.precision,
            "backend": model.backend,
            "compute": model.compute,
            "connected": vitals.connected,
            "outbox": vitals.outbox_rows,
            "dropped": vitals.outbox_dropped,
            "events": self._events,
            "cameras": {
                name: {
                    "state": status.state,
                    "reason": status.reason,
                    "scores": self._scores[name],
                    "flags": list(status.flags),
                }
                for name, status in self._cameras.items()
            },
        }


def health_file(
    *,
    state: Path,
    model: ModelInfo,
    clock: Clock,
    vitals: Callable[[], Vitals],
    environment: Mapping[str, str] = os.environ,
) -> HealthFile | None:
    """The observer, where the service manager gave a runtime folder; else None."""
    folder = environment.get(FOLDER_VARIABLE, "").partition(":")[0]
    if not folder:
        return None
    return HealthFile(folder=Path(folder), state=state, model=model, clock=clock, vitals=vitals)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Nothing that is watched ends because it cannot be shown."""
    try:
        write_bytes(path, json.dumps(content).encode())
    except VigilError as error:
        _log.warning("health_not_written", error=error.what, where=str(path), mend=error.mend)
