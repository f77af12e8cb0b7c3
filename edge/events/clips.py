"""Holds an event's `end` back until its post-roll is there, and adds the pictures of its clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge.events.film import FilmBuffer, FilmSpec
from edge.events.tracker import Report
from edge.frames import Frame


@dataclass(frozen=True)
class _Held:
    """An `end` that waits: the span of its clip in source time."""

    report: Report
    from_s: float
    until_s: float


class ClipKeeper:
    """Between one camera's tracker and the recorder. Without a `spec` everything passes at once.

    Args:
        spec: How clips are made; None: not at all.
    """

    def __init__(self, spec: FilmSpec | None) -> None:
        self._spec = spec
        self._buffer = None if spec is None else FilmBuffer(spec)
        self._running = False
        self._held: _Held | None = None

    def take(self, frame: Frame, reports: Sequence[Report]) -> list[Report]:
        """Take a frame and the messages that followed from it; what may go out now."""
        if self._buffer is None:
            return list(reports)
        self._buffer.add(frame, keep_all=self._running or self._held is not None)
        ready = self._pass(reports)
        if self._held is not None and frame.time_s >= self._held.until_s:
            ready += self.release()
        return ready

    def finish(self, reports: Sequence[Report]) -> list[Report]:
        """The camera is lost or the source has ended: nothing waits any longer."""
        if self._buffer is None:
            return list(reports)
        ready = [*self._pass(reports), *self.release()]
        self._buffer.clear()
        return ready

    def release(self) -> list[Report]:
        """Let go of what is held."""
        held, self._held = self._held, None
        if held is None or self._buffer is None:
            return []
        return [replace(held.report, film=self._buffer.cut(held.from_s, held.until_s))]

    def _pass(self, reports: Sequence[Report]) -> list[Report]:
        assert self._spec is not None
        ready: list[Report] = []
        for report in reports:
            event = report.event
            if event.phase == "start":
                ready += self.release()
            self._running = event.phase != "end"
            if event.phase == "end":
                closed_s = event.started_position_s + event.duration_s
                self._held = _Held(
                    report,
                    from_s=event.started_position_s - self._spec.pre_s,
                    until_s=closed_s + self._spec.post_s,
                )
            else:
                ready.append(report)
        return ready
