"""What drove each alarm and each picture, as rows of the page and as JSON."""

from __future__ import annotations

from typing import Any

from edge.events.event import Cell
from edge.events.explain import Explanation
from trainer.evaluation.alarm_peaks import Alarm
from trainer.evaluation.result import ClipTimeline, Evaluation

# A page with hundreds of alarms is read by nobody; the JSON report has them all.
ALARMS_SHOWN = 60

VERDICTS = {True: "found", False: "false alarm", None: ""}

Row = dict[str, Any]


def alarm_rows(evaluation: Evaluation) -> Row:
    """The table of alarms, in the order of the clips, false ones first if there are too many."""
    alarms = [(clip, alarm) for clip in evaluation.timelines for alarm in clip.reasons]
    shown = alarms
    if len(alarms) > ALARMS_SHOWN:
        shown = sorted(alarms, key=lambda one: one[1].found is not False)[:ALARMS_SHOWN]
    return {
        "rows": [_alarm_row(clip, alarm) for clip, alarm in shown],
        "more": len(alarms) - len(shown),
    }


def alarm_values(clip: ClipTimeline) -> list[Row]:
    """The alarms of one clip for the JSON report."""
    return [
        {
            "first": alarm.first,
            "end": alarm.end,
            "found_event": alarm.found,
            "peak_frame": None if alarm.peak is None else alarm.peak.index,
            "peak_score": None if alarm.peak is None else alarm.peak.score,
            **reason_values(None if alarm.peak is None else alarm.peak.explanation),
        }
        for alarm in clip.reasons
    ]


def reason_values(explanation: Explanation | None) -> Row:
    """Stream, place, words, surprise of all streams, peak cell and highest cells."""
    if explanation is None:
        return dict.fromkeys(("stream", "where", "why", "streams", "peak_cell", "cells"))
    return {
        "stream": explanation.stream,
        "where": explanation.where,
        "why": explanation.why,
        "streams": {name: round(value, 4) for name, value in explanation.streams.items()},
        "peak_cell": _cell(explanation.peak),
        "cells": [_cell(cell) for cell in explanation.cells],
    }


def _alarm_row(clip: ClipTimeline, alarm: Alarm) -> Row:
    peak = alarm.peak
    return {
        "clip": clip.name,
        "frames": f"{alarm.first} to {alarm.end - 1}",
        "verdict": VERDICTS[alarm.found],
        "false": alarm.found is False,
        "score": "" if peak is None else f"{peak.score:.2f}",
        "stream": "" if peak is None else peak.explanation.stream or "",
        "why": "" if peak is None else peak.explanation.why,
    }


def _cell(cell: Cell) -> Row:
    box = {"x": cell.x, "y": cell.y, "w": cell.w, "h": cell.h}
    return {**{name: round(value, 5) for name, value in box.items()}, "score": round(cell.score, 4)}
