"""What the demonstration found: events that came from the broker against the known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GRACE_S = 1.0

Interval = tuple[float, float]


@dataclass(frozen=True)
class Tally:
    """Events of the truth that were found, that were missed, and alarms that meet none."""

    found: int
    missed: int
    false: int


def received_intervals(messages: Sequence[Mapping[str, Any]]) -> dict[str, list[Interval]]:
    """From-to in seconds of every event, by camera, from the messages of `vigil watch`.

    An event lasts from its first frame above the threshold; its last message says for how long.
    """
    events: dict[str, tuple[str, float, float]] = {}
    for message in messages:
        if message.get("kind", "anomaly") != "anomaly" or "id" not in message:
            continue
        start = float(message["started_position_s"])
        events[message["id"]] = (message["camera"], start, start + float(message["duration_s"]))
    result: dict[str, list[Interval]] = {}
    for camera, start, end in events.values():
        result.setdefault(camera, []).append((start, end))
    return result


def tally(
    truth: Mapping[str, Sequence[Interval]], received: Mapping[str, Sequence[Interval]]
) -> Tally:
    """Compare by overlap; the truth is extended by 1 s at its end, as in the evaluation."""
    found = missed = false = 0
    for camera, events in truth.items():
        alarms = received.get(camera, [])
        hits = [any(_overlap(event, alarm) for alarm in alarms) for event in events]
        found += sum(hits)
        missed += len(hits) - sum(hits)
        false += sum(not any(_overlap(event, alarm) for event in events) for alarm in alarms)
    return Tally(found, missed, false)


def _overlap(event: Interval, alarm: Interval) -> bool:
    return alarm[0] <= event[1] + GRACE_S and event[0] <= alarm[1]
