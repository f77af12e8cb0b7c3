"""The page as a part of the daemon: notes what happens, and a thread of its own does the rest."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from edge.clock import Clock, rfc3339
from edge.events.event import Event
from edge.frames import Frame, ScoreMap
from edge.observer import CameraStatus, Observer
from edge.page.board import Board, promise_of, shown_of
from edge.page.inbox import Inbox
from edge.page.journal import Journal
from edge.page.pump import Pump
from edge.page.settings import PageSettings
from edge.page.wire import Message

STOP_S = 8.0


class PageObserver(Observer):
    """Shows the daemon on a page.

    Args:
        settings: Where and to whom.
        device: What does not change during a run, see `Board`; `threshold` must be in it.
        clock: Time.
        journal: Keeps the newest events over restarts; None: they are not kept.
    """

    def __init__(
        self,
        *,
        settings: PageSettings,
        device: Message,
        clock: Clock,
        journal: Journal | None = None,
    ) -> None:
        self._clock = clock
        self._inbox = Inbox()
        self._turned_s = clock.monotonic()
        self._pump = Pump(
            settings=settings,
            board=Board(device),
            inbox=self._inbox,
            journal=journal,
            clock=clock,
            turned_s=lambda: self._turned_s,
        )

    @property
    def port(self) -> int | None:
        """Where the page listens; None: not yet."""
        return self._pump.port

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """Serve from now on."""
        for status in cameras:
            self.camera_changed(status)
        self._pump.start()

    def camera_changed(self, status: CameraStatus) -> None:
        """Note how a camera stands."""
        self._inbox.put({"kind": "camera", "camera": _camera(status)}, soon=True)

    def regrouped(self, cameras: Iterable[CameraStatus]) -> None:
        """Show these, and no others any more."""
        statuses = list(cameras)
        self._inbox.forget_others({status.name for status in statuses})
        self._inbox.put({"kind": "cameras", "names": [status.name for status in statuses]})
        for status in statuses:
            self.camera_changed(status)

    def scored(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
        """Note the newest picture and its score."""
        moment = frame.captured_at or self._clock.utc()
        self._inbox.see(
            camera,
            float(scored.score),
            at_ms=_milliseconds(moment),
            bgr=frame.bgr,
            score_map=scored.map,
        )

    def event(self, event: Event) -> None:
        """Note an event."""
        self._inbox.put({"kind": "event", "event": shown_of(event.payload())}, soon=True)

    def turned(self) -> None:
        """Note that the daemon is well."""
        self._turned_s = self._clock.monotonic()

    def stopped(self) -> None:
        """Serve no longer."""
        self._pump.stop(STOP_S)


def _milliseconds(moment: datetime.datetime) -> int:
    return round(moment.timestamp() * 1000)


def _camera(status: CameraStatus) -> Message:
    return {
        "name": status.name,
        "state": status.state,
        "reason": status.reason,
        "since": rfc3339(status.since),
        "flags": list(status.flags),
        "losses": status.losses,
        "threshold": status.threshold,
        **({} if status.budget is None else promise_of(status.budget)),
    }
