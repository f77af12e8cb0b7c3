"""Daemons over made scores: recordings and live cameras that a test has in its hands."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.broker import Subscriber
from support.cameras import TimedCapture
from support.clips import MemorySource
from support.scores import PlayedPipeline, detector, frame

from edge.capture.camera_state import Patience
from edge.clock import SystemClock
from edge.daemon import Daemon
from edge.daemon_settings import CameraJob, DaemonSettings, LiveInput
from edge.observer import Observer
from edge.publish.address import BrokerAddress, Topics
from edge.publish.outbox import Outbox
from edge.publish.publisher import BrokerSettings
from edge.run_summary import RunSummary

TOPICS = Topics("gate-01")


def recording(name: str, length: int, *, fps: float = 10.0) -> MemorySource:
    return MemorySource([frame(i, fps=fps) for i in range(length)], name, fps)


def live(fps: float, *, lengths: Sequence[int] = (), **limits: float) -> LiveInput:
    """A camera whose connections end after so many frames; the one after the last is endless."""
    left = list(lengths)
    patience = Patience(**{"backoff_min_s": 0.01, "backoff_max_s": 0.02, **limits})

    def launch() -> TimedCapture:
        if left:
            return TimedCapture(fps, left.pop(0), failure="the plug was pulled")
        return TimedCapture(fps)

    return LiveInput(launch=launch, patience=patience)


def of_kind(kind: str, subscriber: Subscriber) -> list[dict[str, Any]]:
    return [event for event in subscriber.events() if event["kind"] == kind]


class Running:
    """A daemon in a thread of its own; stopped at the end."""

    def __init__(self, one: Daemon) -> None:
        self._one = one
        self.summary: RunSummary | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.summary = self._one.run()

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._one.request_stop()
        self._thread.join(15)
        assert not self._thread.is_alive()


def daemon(
    folder: Path,
    url: str,
    scores: dict[str, Sequence[float]],
    *,
    jobs: Sequence[CameraJob] = (),
    flush_s: float = 5.0,
    observers: Sequence[Observer] = (),
    **changes: Any,
) -> Daemon:
    clock = SystemClock()
    return Daemon(
        settings=DaemonSettings(
            broker=BrokerSettings(
                address=BrokerAddress.parse(url), topics=TOPICS, reconnect_max_s=0.1
            ),
            media=folder / "media",
            flush_s=flush_s,
            **changes,
        ),
        cameras=jobs or [CameraJob(name, recording(name, len(s))) for name, s in scores.items()],
        pipeline=PlayedPipeline(scores),
        detector=detector(),
        outbox=Outbox(folder / "o.sqlite3", device="gate-01", topic=TOPICS.event, clock=clock),
        clock=clock,
        observers=observers,
    )
