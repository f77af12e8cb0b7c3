"""Retained topics: how the device and its cameras stand now, for whoever subscribes later."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import structlog

from edge.clock import Clock, rfc3339
from edge.events.event import Event, ModelInfo
from edge.observer import CameraStatus, Observer
from edge.publish.address import Topics
from edge.publish.outbox import Depth
from edge.publish.outbox_space import free_bytes
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import Publisher, PublisherState
from edge.publish.snapshot import small_jpeg
from engines.errors import VigilError

HEARTBEAT_S = 60.0
LOW_DISK_BYTES = 200 * 2**20
_HOUR_S = 3600.0

_log = structlog.get_logger()


class Announcer(Observer):
    """Keeps the retained topics true. Vital: nobody else would tell that a camera has gone.

    Args:
        publisher: Sends them.
        outbox: For the device's state.
        topics: Their names.
        model: For the device's state.
        clock: Time.
        state: Folder of the outbox, whose disk is watched.
        pictures: Folder of the pictures that go to the snapshot topics; None: none do.
        verified: The broker's certificate is checked (or there is no TLS at all).
    """

    vital = True

    def __init__(
        self,
        *,
        publisher: Publisher,
        outbox: OutboxThread,
        topics: Topics,
        model: ModelInfo,
        clock: Clock,
        state: Path,
        pictures: Path | None = None,
        verified: bool = True,
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._topics = topics
        self._model = model
        self._clock = clock
        self._state = state
        self._pictures = pictures
        self._verified = verified
        self._lock = threading.Lock()  # `event` comes from another thread
        self._cameras: dict[str, CameraStatus] = {}
        self._open: dict[str, str] = {}
        self._refused = False
        self._beat_at = 0.0
        self._warn_at = 0.0

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
        """Tell whether the camera has an open event, and show its picture."""
        if self._pictures is not None and event.snapshot is not None:
            picture = small_jpeg(self._pictures / event.snapshot.name)
            if picture is not None:
                self._publisher.retain(self._topics.camera_snapshot(event.camera), picture)
        with self._lock:
            if event.phase == "end":
                self._open.pop(event.camera, None)
            else:
                self._open[event.camera] = event.id
            self._show(event.camera)

    def regrouped(self, cameras: Iterable[CameraStatus]) -> None:
        """The configuration is in force. Who has gone stays told as disabled."""
        for status in cameras:
            self.camera_changed(status)
        self._refused = False
        self._beat()

    def config_refused(self, error: VigilError) -> None:
        """Say that what stands in the file is not in force."""
        del error
        self._refused = True
        self._beat()

    def turned(self) -> None:
        """Heartbeat."""
        now_s = self._clock.monotonic()
        if now_s >= self._beat_at:
            self._beat()
        if not self._verified and now_s >= self._warn_at:
            self._warn_at = now_s + _HOUR_S
            _log.warning(
                "tls_not_verified", mend="set mqtt.ca_file instead of insecure_skip_verify"
            )

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
        depth, published = self._outbox.depth(), self._publisher.state
        stream_id, seq = self._outbox.identity()
        state = {
            "at": rfc3339(self._clock.utc()),
            "clock": self._clock.state(),
            "release": self._model.release,
            "bundle": self._model.bundle,
            "stream_id": stream_id,
            "seq": seq,
            "outbox": asdict(depth),
            "mqtt": {"connects": published.connects, "unheard": published.unheard},
            "degraded": self._degraded(depth, published),
        }
        self._publisher.retain(self._topics.state, json.dumps(state))

    def _degraded(self, depth: Depth, published: PublisherState) -> list[str]:
        """Why not everything is as it should be; empty: all is well."""
        found = {
            "outbox_full": depth.dropped > 0,
            "outbox_not_written": depth.held > 0,
            "disk_low": self._disk_low(),
            "config_refused": self._refused,
            "broker_refuses": published.blocked,
            "broker_cannot_retain": published.retain_missing,
            "tls_not_verified": not self._verified,
        }
        return [reason for reason, true in found.items() if true]

    def _disk_low(self) -> bool:
        try:
            return free_bytes(self._state) < LOW_DISK_BYTES
        except OSError:  # a disk that does not answer has no room either
            return True
