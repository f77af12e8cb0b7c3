"""Sentences and numbers of a report: what an evaluation found, put into words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engines.model_spec import AlarmSpec
from trainer.evaluation.metrics_event import EventDetection
from trainer.evaluation.result import Detection, Evaluation, Speed

UNDEFINED = "\N{EN DASH}"


@dataclass(frozen=True)
class Fact:
    """A name, its value, and a remark. `code` values are typed, not read."""

    name: str
    value: str
    note: str = ""
    code: bool = False


def percent(fraction: float | None) -> str:
    """`0.934` as `93.4`; a dash where it is not defined."""
    return UNDEFINED if fraction is None else f"{100 * fraction:.1f}"


def number(value: float | None, digits: int = 1) -> str:
    """A number with its thousands apart; a dash where it is not defined."""
    return UNDEFINED if value is None else f"{value:,.{digits}f}"


def median(values: Sequence[float]) -> float | None:
    """Median, None of nothing."""
    return float(statistics.median(values)) if values else None


def headline(evaluation: Evaluation) -> list[Fact]:
    """The five figures that one looks for first."""
    frame, pixel = evaluation.detector.frame, evaluation.detector.pixel
    facts = [
        Fact("Frame AUC", _with_unit(percent(frame.auc)), f"EER {_with_unit(percent(frame.eer))}"),
        Fact("Pixel AUC", _with_unit(percent(pixel.auc)), f"EER {_with_unit(percent(pixel.eer))}"),
    ]
    events = evaluation.events
    if events is not None:
        delay = median(events.delay_s)
        note = "" if delay is None else f"median delay {delay:.1f} s"
        facts.append(Fact("Events found", f"{events.found} of {events.total}", note))
        facts.append(
            Fact(
                "False alarms",
                str(events.false_alarms),
                f"in {duration(events.normal_hours)} of normal video",
            )
        )
    facts.append(Fact("Speed", number(evaluation.speed.fps), "frames per second"))
    return facts


@dataclass(frozen=True)
class DetectionRow:
    """One score and its figures in per cent: frame AUC and EER, pixel AUC and EER, macro AUC."""

    name: str
    detection: Detection
    kind: Literal["bundle", "stream", "baseline"]

    @property
    def lead(self) -> bool:
        """The row that the report is about."""
        return self.kind == "bundle"

    @property
    def figures(self) -> list[str]:
        """The five figures as text."""
        frame, pixel = self.detection.frame, self.detection.pixel
        values = (frame.auc, frame.eer, pixel.auc, pixel.eer, self.detection.macro_auc)
        return [percent(value) for value in values]


def detection_rows(evaluation: Evaluation) -> list[DetectionRow]:
    """The bundle, each stream alone, the baseline."""
    rows = [DetectionRow("Bundle, fused", evaluation.detector, "bundle")]
    for name, part in evaluation.streams.items():
        rows.append(DetectionRow(f"Stream {name} alone", part, "stream"))
    if evaluation.baseline is not None:
        rows.append(DetectionRow("Baseline (speed)", evaluation.baseline, "baseline"))
    return rows


def event_facts(alarm: AlarmSpec, events: EventDetection) -> list[Fact]:
    """Threshold, what stands behind it, and what it gives on the test clips."""
    level = f"{100 * alarm.confidence:g} %"
    proven = f"at most {rate(alarm.proven_per_hour)} an hour, with {level} confidence"
    if alarm.extrapolated:
        between = _interval(alarm.interval, alarm.confidence, "interval", digits=2)
        proven = f"threshold extrapolated{between}; the footage proves {proven}"
    delays = events.delay_s
    return [
        Fact(
            "Threshold",
            f"{alarm.threshold:.3f}",
            f"{alarm.open_frames} frames in a row above it open an alarm",
        ),
        Fact("False-alarm budget", _budget(alarm.budget_per_hour), proven),
        Fact(
            "Calibrated on",
            f"{duration(alarm.hours)} of normal video",
            f"{alarm.events_seen} alarm events in it; {alarm.source}",
        ),
        Fact("Events found", f"{events.found} of {events.total}", f"{events.alarms} alarms in all"),
        Fact(
            "False alarms",
            f"{events.false_alarms} in {duration(events.normal_hours)} of normal video",
            _false_alarm_rate(events),
        ),
        Fact(
            "Delay",
            UNDEFINED
            if not delays
            else f"median {median(delays):.1f} s, longest {max(delays):.1f} s",
            ""
            if not events.delay_frames
            else f"{median(events.delay_frames):g} and {max(events.delay_frames)} frames",
        ),
    ]


def speed_summary(speed: Speed) -> str:
    """One sentence: rate, threads, backends."""
    threads = f"{speed.threads} thread{'s' if speed.threads != 1 else ''}"
    asked = (
        threads if speed.threads else f"threads chosen by the libraries ({speed.cpu} processors)"
    )
    networks = ", ".join(f"{name} on {backend}" for name, backend in speed.backends.items())
    return (
        f"{number(speed.fps)} frames per second from file to score, reading included, "
        f"one clip at a time, {asked}; {networks or 'no network'}."
    )


def provenance_facts(evaluation: Evaluation) -> list[Fact]:
    """What was evaluated on what: enough to do it again."""
    origin = evaluation.provenance
    return [
        Fact("Protocol", evaluation.protocol),
        Fact("Bundle", origin.bundle_path, code=True),
        Fact("Content", f"sha256 {origin.bundle_digest}", code=True),
        Fact("Trained on", origin.trained_on),
        Fact("Preset and seed", f"{origin.preset}, seed {origin.seed}"),
        Fact("Training command", origin.command, code=True),
        Fact("Data set", f"{origin.dataset} ({origin.dataset_layout} layout)"),
        Fact("Folder", origin.dataset_path, code=True),
        Fact("Labels", origin.label_source),
        Fact("Versions", ", ".join(f"{name} {text}" for name, text in origin.versions.items())),
        Fact("Clips", ", ".join(clip.name for clip in evaluation.timelines)),
    ]


def duration(hours: float) -> str:
    """Hours in the unit that reads best."""
    seconds = 3600 * hours
    if seconds < 120:
        return f"{seconds:.0f} s"
    if hours < 2:
        return f"{60 * hours:.1f} min"
    return f"{hours:,.1f} h"


def rate(value: float) -> str:
    """Three digits, or whole numbers where those are more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _budget(per_hour: float) -> str:
    return f"{rate(24 * per_hour)} a day" if per_hour < 1 else f"{rate(per_hour)} an hour"


def _false_alarm_rate(events: EventDetection) -> str:
    if events.false_alarms_per_hour is None:
        return ""
    between = _interval(events.interval, events.confidence, "Poisson interval", digits=1)
    return f"{rate(events.false_alarms_per_hour)} an hour{between}"


def _interval(
    interval: tuple[float, float] | None, confidence: float, kind: str, *, digits: int
) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f" ({100 * confidence:g} % {kind} {low:,.{digits}f} to {high:,.{digits}f})"


def _with_unit(value: str) -> str:
    return value if value == UNDEFINED else f"{value} %"
