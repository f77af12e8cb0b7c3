"""Frame scores of one camera to event messages: start, update, end.

When an event opens and closes is decided by `calibration.alarm_rule` alone, the machine that the
threshold was calibrated with. This module adds what people and programs need to know about it:
identity, wall-clock times, the picture of the peak, and updates while it lasts. Rules:

1. `start` once, when the machine opens; the picture is the highest frame so far.
2. `update` when the peak rose by at least `UPDATE_RISE` or another zone was reached since the last
   message, and that lies at least `UPDATE_EVERY_S` back.
3. `end` once, when the machine closes for good or the source ends, and in any case when the event
   has lasted `MAX_EVENT_S`: places that have stayed unlike normal all the while are then held (see
   `edge.events.lasting`); what goes on elsewhere goes on as an event that names this one.

It opens no file and sends nothing.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from calibration.alarm_rule import TIME_TOLERANCE_S, AlarmEvent, AlarmMachine, Transition
from edge.clock import Clock
from edge.events.event import Budget, EndReason, Event, ModelInfo
from edge.events.explain import Explainer
from edge.events.film import FilmFrame
from edge.events.identifiers import uuid7
from edge.events.lasting import LastingCells
from edge.events.watched_at import WatchedAt
from edge.frames import Frame, Phase, ScoreMap
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from engines.model_spec import AlarmSpec, FusionSpec

UPDATE_EVERY_S = 5.0
MAX_EVENT_S = 300.0
UPDATE_RISE = 1.0  # one unit: ten times rarer (surprise), one robust deviation (z)

_HOURS_PER_WEEK = 168.0


@dataclass(frozen=True)
class Detector:
    """What stands behind the scores: alarm rule, fusion, unit, words for the streams, model."""

    alarm: AlarmSpec
    fusion: FusionSpec
    unit: str
    explainer: Explainer
    model: ModelInfo

    @property
    def budget(self) -> Budget:
        """The false-alarm budget per week, and whether the footage proves it."""
        alarm = self.alarm
        return Budget(
            per_week=alarm.budget_per_hour * _HOURS_PER_WEEK,
            proven_per_week=alarm.proven_per_hour * _HOURS_PER_WEEK,
            provisional=alarm.extrapolated or alarm.proven_per_hour > alarm.budget_per_hour,
        )


@dataclass(frozen=True)
class Peak:
    """A frame and its scores, kept for the picture."""

    frame: Frame
    scored: ScoreMap


@dataclass(frozen=True)
class Report:
    """A message to be sent, the peak to be pictured with it, and its clip.

    Attributes:
        event: The message, without its files.
        peak: What to picture; None: the picture is unchanged.
        film: The pictures of its clip, see `edge.events.film`.
    """

    event: Event
    peak: Peak | None
    film: tuple[FilmFrame, ...] = ()


@dataclass
class _Running:
    """The open event: identity, what was said last, and its peak."""

    id: str
    peak: Peak
    previous_id: str | None = None
    rev: int = 0
    said_s: float = 0.0
    said_peak: float = 0.0
    zones: tuple[str, ...] = ()
    said_zones: tuple[str, ...] = ()
    pictured: Peak | None = None


class EventTracker:
    """One camera's events.

    Args:
        device: Name of the device.
        camera: Name of the camera.
        detector: What stands behind the scores.
        clock: For the wall clock of recordings and for identifiers.
        rules: The camera's zones.
    """

    def __init__(
        self,
        *,
        device: str,
        camera: str,
        detector: Detector,
        clock: Clock,
        rules: CellRules = EVERYWHERE,
    ) -> None:
        self._rules = rules
        self._device = device
        self._camera = camera
        self._detector = detector
        self._clock = clock
        self._machine = AlarmMachine.of(detector.alarm)
        self._candidate: Peak | None = None
        self._running: _Running | None = None
        self._newest: Peak | None = None
        self._ended: tuple[str, float] | None = None
        self.lasting = LastingCells(detector.alarm.threshold, detector.fusion)
        """What is held; the owner lets every map pass through it first."""
        self._watched = WatchedAt(keep_s=detector.alarm.close_s + detector.alarm.merge_s)

    @property
    def open_id(self) -> str | None:
        """The running event's id."""
        return None if self._running is None else self._running.id

    def update(self, frame: Frame, scored: ScoreMap) -> list[Report]:
        """Take the next frame and its scores; the messages that follow from it.

        Raises:
            DataError: The score is not a number, or time runs backwards.
        """
        newest = self._newest = Peak(frame, scored)
        above = scored.score > self._detector.alarm.threshold
        if frame.captured_at is None:
            self._watched.note(
                frame.time_s, self._clock.monotonic(), hold=above or self.open_id is not None
            )
        self._candidate = _higher(self._candidate, newest) if above else None
        transition = self._machine.update(frame.time_s, scored.score)
        if transition is not None and transition.kind == "closed":
            return [self._end(transition, "normal")]
        event = self._machine.event
        if event is None or self._machine.state != "active" or self._candidate is None:
            return []
        # Only here is the run of frames above part of the event; a run that stays too short to
        # continue a quiet event is forgotten, by the machine and by us.
        return self._active(event, self._candidate, newest)

    def finish(self, reason: EndReason) -> list[Report]:
        """End the running event, if any, and start afresh: the source ended or was lost."""
        newest = self._newest
        transition = None if newest is None else self._machine.finish(newest.frame.time_s)
        reports = [] if transition is None else [self._end(transition, reason)]
        self._candidate = self._newest = self._ended = None
        self._watched.clear()
        return reports

    def _active(self, event: AlarmEvent, candidate: Peak, newest: Peak) -> list[Report]:
        self._candidate = None
        now_s = newest.frame.time_s
        if self._running is None:
            self._running = _Running(
                id=str(uuid7(self._clock.utc())),
                peak=candidate,
                previous_id=self._continued(event.first_s),
            )
            self._reach(self._running, candidate)
            return [self._say("start", event, None)]
        running = self._running
        running.peak = _higher(running.peak, candidate)
        self._reach(running, newest)
        if now_s - event.first_s >= MAX_EVENT_S - TIME_TOLERANCE_S:
            return [self._cut(running.id, now_s)]
        due = now_s - running.said_s >= UPDATE_EVERY_S - TIME_TOLERANCE_S
        news = running.zones != running.said_zones
        if due and (news or event.peak_score - running.said_peak >= UPDATE_RISE):
            return [self._say("update", event, None)]
        return []

    def _cut(self, event_id: str, now_s: float) -> Report:
        """End the running event because it has lasted too long."""
        transition = self._machine.finish(now_s)
        assert transition is not None
        report = self._end(transition, "scene_changed" if self.lasting.hold() else "max_duration")
        self._ended = (event_id, now_s)
        return report

    def _continued(self, first_s: float) -> str | None:
        """The event that was cut where one begins that starts at `first_s`."""
        if self._ended is None:
            return None
        (event_id, ended_s), self._ended = self._ended, None
        alarm = self._detector.alarm
        return event_id if first_s - ended_s <= alarm.close_s + alarm.merge_s else None

    def _reach(self, running: _Running, peak: Peak) -> None:
        """Add the zones that are above the threshold in a frame."""
        if not self._rules.zones:
            return
        reached = self._rules.zones_at(peak.scored.map > self._detector.alarm.threshold)
        known = {*running.zones, *reached}
        running.zones = tuple(zone.name for zone in self._rules.zones if zone.name in known)

    def _end(self, transition: Transition, reason: EndReason) -> Report:
        report = self._say("end", transition.event, reason)
        self._running = None
        self._watched.release()
        return report

    def _say(self, phase: Phase, event: AlarmEvent, reason: EndReason | None) -> Report:
        running, newest = self._running, self._newest
        assert running is not None
        assert newest is not None
        running.rev += 1
        running.said_s = newest.frame.time_s
        running.said_peak = event.peak_score
        running.said_zones = running.zones
        fresh = running.peak is not running.pictured
        running.pictured = running.peak
        message = self._message(running, newest, event, reason, phase)
        return Report(event=message, peak=running.peak if fresh else None)

    def _message(
        self,
        running: _Running,
        newest: Peak,
        event: AlarmEvent,
        reason: EndReason | None,
        phase: Phase,
    ) -> Event:
        detector = self._detector
        threshold = detector.alarm.threshold
        explanation = detector.explainer.explain(running.peak.scored, threshold)
        return Event(
            id=running.id,
            phase=phase,
            rev=running.rev,
            device=self._device,
            camera=self._camera,
            started_at=self._wall(event.first_s),
            at=self._wall(newest.frame.time_s),
            ended_at=self._wall(event.closed_s) if phase == "end" else None,
            duration_s=event.closed_s - event.first_s,
            frame=newest.frame.index,
            position_s=newest.frame.time_s,
            started_position_s=event.first_s,
            peak_position_s=event.peak_s,
            reason=reason,
            clock=self._clock.state(),
            unit=detector.unit,
            score=newest.scored.score,
            peak_score=event.peak_score,
            threshold=threshold,
            budget=detector.budget,
            why=explanation.why,
            streams=explanation.streams,
            cells=explanation.cells,
            model=detector.model,
            zones=running.zones,
            previous_id=running.previous_id,
        )

    def _wall(self, time_s: float) -> datetime.datetime:
        """Wall clock of a source time: of the capture, or of watching if it is a recording."""
        newest = self._newest
        if newest is not None and newest.frame.captured_at is not None:
            age = newest.frame.time_s - time_s
            return newest.frame.captured_at - datetime.timedelta(seconds=age)
        watched_s = self._clock.monotonic() - self._watched.at(time_s)
        return self._clock.utc() - datetime.timedelta(seconds=watched_s)


def _higher(first: Peak | None, second: Peak) -> Peak:
    """The peak with the larger frame score, the earlier one in a tie."""
    if first is None or second.scored.score > first.scored.score:
        return second
    return first
