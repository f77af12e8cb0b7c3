"""A page with made scores behind it, an HTTP client that keeps what it was told, and a browser."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.broker import wait_until
from support.scores import THRESHOLD, detector, frame, scored

from edge.clock import SystemClock
from edge.events.pictures import write_heatmap, write_snapshot
from edge.events.tracker import EventTracker, Report
from edge.observer import CameraStatus
from edge.page.journal import Journal
from edge.page.observer import PageObserver
from edge.page.settings import PageSettings

TOKEN = "a-token-of-the-tests-0123456789"
DEVICE = {
    "name": "gate-01",
    "release": "0.1.0",
    "model": "made",
    "unit": "surprise",
    "threshold": THRESHOLD,
    "budget_per_week": 84.0,
    "proven_per_week": 504.0,
    "provisional": True,
}


def status(name: str, state: str = "live", **changes: Any) -> CameraStatus:
    values: dict[str, Any] = {"reason": None, "since": SystemClock().utc(), **changes}
    return CameraStatus(name=name, state=state, **values)  # type: ignore[arg-type]


@dataclass
class Stage:
    """A page of a device whose cameras do what a test says."""

    folder: Path
    settings: PageSettings
    cameras: tuple[str, ...] = ("yard", "door")
    observer: PageObserver = field(init=False)
    port: int = field(init=False)
    trackers: dict[str, EventTracker] = field(default_factory=dict)
    frames: int = 0
    _files: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Stage:
        clock = SystemClock()
        self.observer = PageObserver(
            settings=self.settings,
            device=DEVICE,
            clock=clock,
            journal=Journal(self.folder / "page_events.json", clock=clock),
        )
        for name in self.cameras:
            self.trackers[name] = EventTracker(
                device="gate-01", camera=name, detector=detector(), clock=clock
            )
        self.observer.started([status(name) for name in self.cameras])
        wait_until(lambda: self.observer.port is not None)
        assert self.observer.port is not None
        self.port = self.observer.port
        wait_until(lambda: get(self.port, "/healthz").status == 200, timeout_s=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.observer.stopped()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, camera: str, *scores: float) -> None:
        """Frames of a camera with these scores, and what follows from them."""
        tracker = self.trackers[camera]
        for score in scores:
            one = frame(self.frames)
            self.frames += 1
            result = scored(one, score)
            self.observer.turned()
            self.observer.scored(camera, one, result)
            for report in tracker.update(one, result):
                self._record(report)

    def event(self, camera: str = "yard") -> str:
        """A whole event; its id."""
        self.play(camera, 1.0, 5.0, 5.0, 5.0)
        identifier = self.trackers[camera].open_id
        assert identifier is not None
        self.play(camera, *[1.0] * 40)
        return identifier

    def _record(self, report: Report) -> None:
        media, event = self.settings.media, report.event
        if media is not None and report.peak is not None:
            stem = event.id if event.rev == 1 else f"{event.id}-{event.rev}"
            picture, grid = report.peak.frame.bgr, report.peak.scored.map
            self._files = {
                "snapshot": write_snapshot(media, stem, picture),
                "heatmap": write_heatmap(
                    media, stem, grid, threshold=event.threshold, size=picture.shape[:2]
                ),
            }
        self.observer.event(dataclasses.replace(event, **self._files))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def get(
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, answer.read())
    finally:
        connection.close()


class EventReader:
    """Reads server-sent events."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._connection.request("GET", "/api/v1/stream", headers=headers or {})
        self.answer = self._connection.getresponse()

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.answer.close()
        self._connection.close()

    def next(self) -> tuple[str, Any]:
        """The next event; comments are skipped."""
        kind = ""
        while True:
            line = self.answer.readline()
            assert line, "the stream has ended"
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return kind, json.loads(line[6:])

    def until(self, kind: str, timeout_s: float = 20.0) -> Any:
        """The next event of a kind."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found, data = self.next()
            if found == kind:
                return data
        raise AssertionError(f"no {kind} in {timeout_s} s")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium of the distribution, driven by Playwright; skips where one is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium here; install: sudo apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # As root Chromium refuses to start with its sandbox; it only ever sees our own page.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
