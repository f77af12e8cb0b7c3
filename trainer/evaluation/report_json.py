"""The evaluation as one flat JSON object with a few nested ones; fractions, seconds, frames, hours.

The top-level names are a contract (issue trackers, READMEs and the benchmark script read them):
what is not defined (no masks, one class only, no threshold) is null, never 0.
"""

from __future__ import annotations

import json
from typing import Any

from trainer.evaluation.metrics_event import EventDetection
from trainer.evaluation.report_facts import median
from trainer.evaluation.report_footage import footage_values
from trainer.evaluation.report_reasons import alarm_values
from trainer.evaluation.report_trust import trust_values, weights_of
from trainer.evaluation.result import ClipTimeline, Detection, Evaluation

SCHEMA_VERSION = 1


def json_from_evaluation(evaluation: Evaluation) -> str:
    """The JSON text, keys in a fixed order, ending in a newline."""
    return json.dumps(values_from_evaluation(evaluation), indent=2, allow_nan=False) + "\n"


def values_from_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """The JSON object as plain Python values."""
    detector = _detection(evaluation.detector)
    baseline = _detection(evaluation.baseline)
    speed, alarm = evaluation.speed, evaluation.alarm
    return {
        "schema_version": SCHEMA_VERSION,
        **detector,
        **{f"baseline_{key}": value for key, value in baseline.items()},
        "threshold": None if alarm is None else alarm.threshold,
        "budget_per_hour": None if alarm is None else alarm.budget_per_hour,
        **_events(evaluation.events),
        "rbdc": None if evaluation.regions is None else evaluation.regions.rbdc,
        "tbdc": None if evaluation.regions is None else evaluation.regions.tbdc,
        "frames": speed.frames,
        "fps": speed.fps,
        "stage_ms": speed.stage_ms,
        "threads": speed.threads,
        "backends": speed.backends,
        "protocol": evaluation.protocol,
        "seed": evaluation.provenance.seed,
        "streams": {name: _detection(part) for name, part in evaluation.streams.items()},
        "weights": weights_of(evaluation),
        "trust": trust_values(evaluation),
        "footage": footage_values(evaluation.footage),
        "clips": [_clip(clip) for clip in evaluation.timelines],
        "bundle": evaluation.provenance.bundle,
        "bundle_digest": evaluation.provenance.bundle_digest,
        "trained_on": evaluation.provenance.trained_on,
        "dataset": evaluation.provenance.dataset,
        "label_source": evaluation.provenance.label_source,
        "notes": list(evaluation.provenance.notes),
        "versions": evaluation.provenance.versions,
        "created": evaluation.provenance.created,
    }


def _detection(detection: Detection | None) -> dict[str, Any]:
    keys = ("frame_auc", "frame_eer", "pixel_auc", "pixel_eer", "macro_auc", "macro_clips")
    if detection is None:
        return dict.fromkeys(keys)
    frame, pixel = detection.frame, detection.pixel
    macro = (detection.macro_auc, detection.macro_clips)
    return dict(zip(keys, (frame.auc, frame.eer, pixel.auc, pixel.eer, *macro), strict=True))


def _events(events: EventDetection | None) -> dict[str, Any]:
    if events is None:
        names = (
            "false_alarms_per_hour",
            "false_alarms_interval",
            "false_alarms",
            "alarms",
            "normal_hours",
            "events_found",
            "events_total",
            "delay_frames_median",
            "delay_frames_max",
            "delay_s_median",
        )
        return dict.fromkeys(names)
    return {
        "false_alarms_per_hour": events.false_alarms_per_hour,
        "false_alarms_interval": None if events.interval is None else list(events.interval),
        "false_alarms": events.false_alarms,
        "alarms": events.alarms,
        "normal_hours": events.normal_hours,
        "events_found": events.found,
        "events_total": events.total,
        "delay_frames_median": events.delay_frames_median,
        "delay_frames_max": events.delay_frames_max,
        "delay_s_median": median(events.delay_s),
    }


def _clip(clip: ClipTimeline) -> dict[str, Any]:
    anomalous = None if clip.truth is None else sum(end - start for start, end in clip.truth)
    return {
        "name": clip.name,
        "frames": int(clip.index.size),
        "skipped": clip.skipped,
        "anomalous_frames": anomalous,
        "alarms": [list(alarm) for alarm in clip.alarms],
        "reasons": alarm_values(clip),
        "frame_auc": clip.auc,
    }
