"""Retained topics: how the device and its cameras stand now, for whoever subscribes later."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict

from edge.clock import Clock, rfc3339
from edge.events.event import Event, ModelInfo
from edge.observer import CameraStatus, Observer
from edge.publish.address import Topics
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import Publisher

HEARTBEAT_S = 60.0


class Announcer(Observer):
    """Keeps the retained topics true.

    Args:
        publisher: Sends them.
        outbox: For the device's state.
        topics: Their names.
        model: For the device's state.
        clock: Time.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        outbox: OutboxThread,
        topics: Topics,
        model: ModelInfo,
        clock: Clock,
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._topics = topics
        self._model = model
        self._clock = clock
        self._lock = threading.Lock()  # `event` comes from another thread
        self._cameras: dict[str, CameraStatus] = {}
        self._open: dict[str, str] = {}
        self._beat_at = 0.0

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """All topics have a value before the first connect."""
        for status in cameras:
            self.camera_changed(status)
        self._beat()

    def camera_changed(self, status: CameraStatus) -> None:
        """Tell the camera's new state."""
        with self._lock:
            self._cameras[status.name] = status
            self._show(status.name)

    def event(self, event: Event) -> None:
        """Tell whether the camera has an open event."""
        with self._lock:
            if event.phase == "end":
                self._open.pop(event.camera, None)
            else:
                self._open[event.camera] = event.id
            self._show(event.camera)

    def turned(self) -> None:
        """Heartbeat."""
        if self._clock.monotonic() >= self._beat_at:
            self._beat()

    def _show(self, camera: str) -> None:
        status, open_id = self._cameras[camera], self._open.get(camera)
        state: dict[str, object] = {
            "state": status.state,
            "reason": status.reason,
            "since": rfc3339(status.since),
            "flags": list(status.flags),
            "fps": None if status.fps is None else round(status.fps, 2),
            "losses": status.losses,
            "event": open_id,
        }
        self._publisher.retain(self._topics.camera_state(camera), json.dumps(state))
        alarm = "OFF" if open_id is None else "ON"
        self._publisher.retain(self._topics.camera_alarm(camera), alarm)

    def _beat(self) -> None:
        self._beat_at = self._clock.monotonic() + HEARTBEAT_S
        depth = self._outbox.depth()
        stream_id, seq = self._outbox.identity()
        state = {
            "at": rfc3339(self._clock.utc()),
            "clock": self._clock.state(),
            "release": self._model.release,
            "bundle": self._model.bundle,
            "stream_id": stream_id,
            "seq": seq,
            "outbox": asdict(depth),
            "degraded": ["outbox_full"] if depth.dropped else [],
        }
        self._publisher.retain(self._topics.state, json.dumps(state))
