"""Event level: which anomalous events an alarm found, how late, and how often it cried wolf.

Method section 5. A ground-truth event is a run of anomalous frames, gaps below 1 s closed. It is
found if an alarm overlaps it or the 1 s after it; its delay is the opening of the first such alarm
minus its start, at least 0. An alarm that overlaps no event so extended is false; false alarms are
counted per hour of normal video, with an exact Poisson interval.

Ours: an alarm lasts from the frame that opened it to its last frame above the threshold. The
second of quiet after it that the machine waits for overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.alarm_rule import TIME_TOLERANCE_S, AlarmEvent, AlarmParameters, alarm_events
from calibration.poisson import poisson_interval
from engines.errors import DataError

MAX_GAP_S = 1.0
GRACE_S = 1.0
SECONDS_PER_HOUR = 3600.0

Clip = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


@dataclass(frozen=True)
class TruthEvent:
    """One anomalous event of a clip.

    Attributes:
        first: Position of its first frame in the clip's arrays.
        end: Position after its last frame.
        start_s: Time of the first frame.
        end_s: Time of the last frame plus one frame period.
    """

    first: int
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class EventDetection:
    """Alarms against ground truth over all clips.

    Attributes:
        found: Events that an alarm overlaps.
        total: Events.
        alarms: Alarm events.
        false_alarms: Those that overlap no event.
        normal_hours: Hours of normal video, all normal frames together.
        confidence: Of `interval`.
        delay_frames: Delay of each found event in frames, in the order of the clips.
        delay_s: The same in seconds.
    """

    found: int
    total: int
    alarms: int
    false_alarms: int
    normal_hours: float
    confidence: float
    delay_frames: tuple[int, ...]
    delay_s: tuple[float, ...]

    @property
    def false_alarms_per_hour(self) -> float | None:
        """Of normal video; None where there is no normal video."""
        return self.false_alarms / self.normal_hours if self.normal_hours > 0.0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Central Poisson interval of that rate; None where there is no normal video."""
        if self.normal_hours <= 0.0:
            return None
        low, high = poisson_interval(self.false_alarms, self.confidence)
        return low / self.normal_hours, high / self.normal_hours

    @property
    def delay_frames_median(self) -> float | None:
        """Median delay in frames; None where no event was found."""
        return float(np.median(self.delay_frames)) if self.delay_frames else None

    @property
    def delay_frames_max(self) -> int | None:
        """Largest delay in frames; None where no event was found."""
        return max(self.delay_frames, default=None)


def truth_events(
    times: NDArray[np.float64], labels: NDArray[np.bool_], *, max_gap_s: float = MAX_GAP_S
) -> list[TruthEvent]:
    """Runs of anomalous frames; a shorter gap than `max_gap_s` between two is closed.

    A gap lasts as many frame periods as it has frames: at 10 frames per second, 9 normal frames in
    between are closed and 10 are not.

    Args:
        times: float64, N, seconds, rising.
        labels: bool, N, True where anomalous.
        max_gap_s: In seconds.
    """
    period = frame_period_s(times)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(np.int8)))
    events: list[TruthEvent] = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start_s, end_s = float(times[first]), float(times[end - 1]) + period
        if events and start_s - events[-1].end_s < max_gap_s - TIME_TOLERANCE_S:
            before = events.pop()
            first, start_s = before.first, before.start_s  # noqa: PLW2901  the run now begins there
        events.append(TruthEvent(first, end, start_s, end_s))
    return events


def event_detection(
    clips: Iterable[Clip], rule: AlarmParameters, *, confidence: float = 0.95
) -> EventDetection:
    """Run the alarm rule over every clip and compare with its labels.

    Args:
        clips: (times in seconds, scores, bool labels), N each.
        rule: Threshold and timing, for instance a bundle's `AlarmSpec`.
        confidence: Of the interval of the false-alarm rate.

    Raises:
        DataError: Unequal lengths, labels that are not bool, a score that is not a number, or times
            that fall.
    """
    total = alarms_total = false_alarms = 0
    normal_s = 0.0
    delays: list[tuple[int, float]] = []
    for times, scores, labels in clips:
        if not len(times) == len(scores) == len(labels):
            raise DataError(
                f"a clip has {len(times)} times, {len(scores)} scores and {len(labels)} labels"
            )
        if labels.dtype != np.bool_:
            raise DataError(f"labels must be bool, found {labels.dtype}")
        events = truth_events(times, labels)
        alarms = alarm_events(times, scores, rule)
        total += len(events)
        alarms_total += len(alarms)
        false_alarms += sum(not any(overlaps(a, event) for event in events) for a in alarms)
        normal_s += frame_period_s(times) * int(np.count_nonzero(~labels))
        for event in events:
            openings = [alarm.opened_s for alarm in alarms if overlaps(alarm, event)]
            if openings:
                delays.append(_delay(times, event, min(openings)))
    return EventDetection(
        found=len(delays),
        total=total,
        alarms=alarms_total,
        false_alarms=false_alarms,
        normal_hours=normal_s / SECONDS_PER_HOUR,
        confidence=confidence,
        delay_frames=tuple(frames for frames, _ in delays),
        delay_s=tuple(seconds for _, seconds in delays),
    )


def frame_period_s(times: NDArray[np.float64]) -> float:
    """Median time between frames; 0 where there are fewer than two frames."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def overlaps(alarm: AlarmEvent, event: TruthEvent) -> bool:
    """Whether the alarm finds the event: they overlap, or it opens within `GRACE_S` after it."""
    return (
        alarm.opened_s < event.end_s + GRACE_S - TIME_TOLERANCE_S
        and alarm.last_s > event.start_s - TIME_TOLERANCE_S
    )


def _delay(times: NDArray[np.float64], event: TruthEvent, opened_s: float) -> tuple[int, float]:
    """Delay of an opening in frames and in seconds, at least 0."""
    opened = int(np.searchsorted(times, opened_s - TIME_TOLERANCE_S))
    return max(opened - event.first, 0), max(opened_s - event.start_s, 0.0)
