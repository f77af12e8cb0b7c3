"""Prometheus metrics of the daemon, in a registry of their own.

An observer counts what happens; what stands somewhere already (outbox, networks, disk, this
process) is asked when somebody scrapes, in the scraper's thread, so that the loop never waits.
Labels are camera, state, reason, phase, stage: nothing whose number grows with time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge.capture.camera_state import CameraState
from edge.clock import Clock
from edge.events.event import Event, ModelInfo
from edge.events.fault import CameraFault
from edge.frames import Frame, ScoreMap
from edge.observer import CameraStatus, Observer
from edge.vitals import Vitals
from engines.errors import VigilError

STATES: tuple[str, ...] = get_args(CameraState)


class Metrics(Observer):
    """Counts for Prometheus.

    Args:
        model: Named in `vigil_build_info`.
        clock: Time.
        vitals: How the daemon stands; may raise `VigilError` while it ends.
        stage_ms: Milliseconds spent by stage of the pipeline so far.
        folder: On the disk whose free space is told.
    """

    def __init__(
        self,
        *,
        model: ModelInfo,
        clock: Clock,
        vitals: Callable[[], Vitals],
        stage_ms: Callable[[], Mapping[str, float]],
        folder: Path,
    ) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._clock = clock
        self._threshold: dict[str, float] = {}
        build = Gauge(
            "vigil_build_info",
            "1; release, bundle and precision as labels",
            ["release", "model", "bundle", "precision"],
            registry=registry,
        )
        build.labels(model.release, model.name, model.bundle, model.precision).set(1)
        per_camera = ["camera"]
        self._state = Gauge(
            "vigil_camera_state",
            "1 for the state that the camera is in, else 0",
            ["camera", "state"],
            registry=registry,
        )
        self._losses = Counter(
            "vigil_camera_reconnects",
            "How often the camera was lost, by reason",
            ["camera", "reason"],
            registry=registry,
        )
        self._frames = Counter(
            "vigil_camera_frames", "Frames scored", per_camera, registry=registry
        )
        self._score = Gauge(
            "vigil_score",
            "Newest score, in the unit of the threshold",
            per_camera,
            registry=registry,
        )
        self._limit = Gauge(
            "vigil_threshold", "Scores above it alarm", per_camera, registry=registry
        )
        self._above = Counter(
            "vigil_threshold_exceed", "Frames above the threshold", per_camera, registry=registry
        )
        self._events = Counter(
            "vigil_events",
            "Event messages by phase; reason only at the end",
            ["camera", "phase", "reason"],
            registry=registry,
        )
        self._faults = Counter(
            "vigil_camera_faults",
            "Faults that were published",
            ["camera", "cause"],
            registry=registry,
        )
        self._asked = _Asked(clock=clock, vitals=vitals, stage_ms=stage_ms, folder=folder)
        registry.register(self._asked)
        ProcessCollector(registry=registry)
        self._lost_before: dict[str, int] = {}

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """All series are there from the start, so that a rate can be taken from 0."""
        for status in cameras:
            self._frames.labels(status.name)
            self._above.labels(status.name)
            self._events.labels(status.name, "start", "")
            self.camera_changed(status)

    def regrouped(self, cameras: Iterable[CameraStatus]) -> None:
        """New cameras have their series from now on; those of former ones stay as they are."""
        self.started(cameras)

    def camera_changed(self, status: CameraStatus) -> None:
        """States, losses, and frames that came to nothing."""
        if status.threshold is not None:
            self._threshold[status.name] = status.threshold
            self._limit.labels(status.name).set(status.threshold)
        for state in STATES:
            self._state.labels(status.name, state).set(state == status.state)
        # A camera is lost only for a moment; the state after it carries the reason on.
        fresh = status.losses - self._lost_before.get(status.name, 0)
        if fresh > 0:
            self._losses.labels(status.name, status.reason or "unknown").inc(fresh)
        self._lost_before[status.name] = status.losses
        self._asked.statuses[status.name] = status
        if status.state == "disabled":  # or an age would grow of which nobody expects a score
            self._asked.scored_s.pop(status.name, None)

    def scored(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
        """Count a frame."""
        del frame
        self._frames.labels(camera).inc()
        self._score.labels(camera).set(scored.score)
        if scored.score > self._threshold.get(camera, float("inf")):
            self._above.labels(camera).inc()
        self._asked.scored_s[camera] = self._clock.monotonic()

    def event(self, event: Event) -> None:
        """Count a message."""
        self._events.labels(event.camera, event.phase, event.reason or "").inc()

    def fault(self, fault: CameraFault) -> None:
        """Count a fault, once."""
        if fault.phase == "start":
            self._faults.labels(fault.camera, fault.cause).inc()


class _Asked(Collector):
    """What is asked at a scrape."""

    def __init__(
        self,
        *,
        clock: Clock,
        vitals: Callable[[], Vitals],
        stage_ms: Callable[[], Mapping[str, float]],
        folder: Path,
    ) -> None:
        self._clock = clock
        self._vitals = vitals
        self._stage_ms = stage_ms
        self._folder = folder
        self.statuses: dict[str, CameraStatus] = {}
        self.scored_s: dict[str, float] = {}

    def describe(self) -> list[Metric]:
        """Nothing is asked while the registry is made."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._cameras()
        yield from self._daemon()
        yield from self._machine()

    def _cameras(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "vigil_camera_frame_age_seconds", "Since the newest score", labels=["camera"]
        )
        now_s = self._clock.monotonic()
        for camera, scored_s in self.scored_s.copy().items():
            age.add_metric([camera], now_s - scored_s)
        yield age
        dropped = CounterMetricFamily(
            "vigil_camera_frames_dropped",
            "Frames not scored: overwritten by a newer one, or unreadable (as of the last change)",
            labels=["camera", "reason"],
        )
        for camera, status in self.statuses.copy().items():
            dropped.add_metric([camera, "newer"], status.dropped)
            dropped.add_metric([camera, "unreadable"], status.skipped)
        yield dropped

    def _daemon(self) -> Iterator[Metric]:
        stages = CounterMetricFamily(
            "vigil_stage_seconds", "Time spent by stage of the pipeline", labels=["stage"]
        )
        for stage, spent_ms in self._stage_ms().items():
            stages.add_metric([stage], spent_ms / 1000.0)
        yield stages
        try:
            vitals = self._vitals()
        except VigilError:
            return  # the daemon ends; what is known is told
        for name, text, value in (
            ("vigil_outbox_rows", "Messages that wait for the broker", vitals.outbox_rows),
            ("vigil_outbox_bytes", "Their size", vitals.outbox_bytes),
            ("vigil_mqtt_connected", "1 while connected to the broker", int(vitals.connected)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, value in (
            ("vigil_outbox_dropped", "Messages dropped, too many waited", vitals.outbox_dropped),
            ("vigil_mqtt_delivered", "Messages acknowledged by the broker", vitals.delivered),
            ("vigil_mqtt_connects", "Connections to the broker", vitals.connects),
            (
                "vigil_ticks_skipped",
                "Looks at the cameras left out, too late",
                vitals.ticks_skipped,
            ),
            ("vigil_pictures_missing", "Pictures not written", vitals.pictures_missing),
        ):
            yield CounterMetricFamily(name, text, value=value)

    def _machine(self) -> Iterator[Metric]:
        try:
            free = shutil.disk_usage(self._folder).free
            yield GaugeMetricFamily("vigil_disk_free_bytes", "Where the outbox lies", value=free)
        except OSError:
            pass
        heat = GaugeMetricFamily(
            "vigil_temperature_celsius", "Sensors of the board", labels=["sensor"]
        )
        for chip, sensors in psutil.sensors_temperatures().items():
            for number, sensor in enumerate(sensors):
                heat.add_metric([sensor.label or f"{chip}_{number}"], sensor.current)
        yield heat
