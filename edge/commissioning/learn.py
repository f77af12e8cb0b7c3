"""Footage of a place to a site calibration: statistics from its first part, then a threshold.

The threshold must come from footage that the statistics have not seen, or the false alarms that it
promises are too few. Scoring is the daemon's own (`edge.pipeline`), with the camera's masks and
zones and at the daemon's beat, so that alarms are counted as they will be raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.alarm_rule import AlarmParameters
from calibration.normal_footage import SECONDS_PER_HOUR, Series
from calibration.sensitivity import Change, compare
from calibration.site import SiteCalibration, SiteRecord, evidence_of, pooling_of
from calibration.stream_statistics import StreamStatistics
from calibration.threshold import fit_threshold
from edge.clock import Clock, rfc3339
from edge.commissioning.figures import span_in_words
from edge.commissioning.footage import Footage
from edge.commissioning.samples import EnergySamples, Moment, Moments
from edge.pipeline import Pipeline
from edge.scoring.cell_rules import CellRules
from engines.errors import DataError
from engines.model_spec import AlarmSpec

HOURS_PER_DAY = 24.0
STATISTICS_SHARE = 1.0 / 3.0
# A stream that saw fewer energies than this has not seen the place.
MIN_SAMPLES = 1000
LESS_SENSITIVE, LITTLE_FOOTAGE = "less-sensitive", "little-footage"


@dataclass(frozen=True)
class Standard:
    """What a new calibration is compared with: the one that counts now."""

    statistics: Mapping[str, StreamStatistics]
    alarm: AlarmSpec


@dataclass(frozen=True)
class Learned:
    """The result: the calibration, how it differs by stream, and the highest moments in it."""

    calibration: SiteCalibration
    changes: Mapping[str, Change]
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Attributes:
        camera: Its name.
        rules: Its masks and zones.
        seconds: Footage to learn from.
        budget_per_hour: False alarms an hour that are accepted.
        confidence: Of the bounds.
        seed: Of the bootstrap.
    """

    camera: str
    rules: CellRules
    seconds: float
    budget_per_hour: float
    confidence: float
    seed: int = 0


def learn(
    order: Order, *, footage: Footage, pipeline: Pipeline, now: Standard, clock: Clock
) -> Learned:
    """Watch, and learn; nothing is written.

    Raises:
        VigilError: The camera is away for long, nothing moves, or the footage is too short.
    """
    statistics, counts = _learn_statistics(order, footage, pipeline)
    statistics_s = footage.seconds
    rule = now.alarm
    series, moments = _score(order, footage, pipeline, statistics)
    alarm = _threshold(series, order, rule)
    assert footage.shape is not None
    changes = compare(
        now.statistics,
        now.alarm.threshold,
        statistics,
        alarm.threshold,
        mode=pipeline.bundle.model.fusion.mode,
    )
    record = SiteRecord(
        camera=order.camera,
        bundle=pipeline.bundle.digest,
        created=rfc3339(clock.utc()),
        width=footage.shape[1],
        height=footage.shape[0],
        statistics_hours=statistics_s / SECONDS_PER_HOUR,
        streams={name: evidence_of(one, counts[name]) for name, one in statistics.items()},
        alarm=alarm,
        concerns=_concerns(pipeline, changes, alarm, counts),
    )
    return Learned(SiteCalibration(record, statistics), changes, moments)


def hours_to_prove(budget_per_hour: float, confidence: float) -> float:
    """Normal footage without any alarm that proves a budget."""
    return -math.log1p(-confidence) / budget_per_hour


def _learn_statistics(
    order: Order, footage: Footage, pipeline: Pipeline
) -> tuple[dict[str, StreamStatistics], dict[str, int]]:
    view = pipeline.new_view(order.rules)
    samples = {name: EnergySamples() for name in pipeline.streams}
    for look in footage.take(order.seconds * STATISTICS_SHARE):
        if look.cut:
            view.reset()
        for name, energy in pipeline.energies([(view, look.frame)])[0].items():
            samples[name].add(order.rules.on_energy(energy))
    statistics, counts = {}, {}
    for stream in pipeline.specs:
        energies, rows, columns = samples[stream.name].arrays()
        before = pipeline.statistics[stream.name]
        counts[stream.name] = len(energies)
        statistics[stream.name] = StreamStatistics.fit(
            energies,
            rows,
            columns,
            before.cells.shape,
            pooling=pooling_of(before, head=stream.head.kind),
        )
    return statistics, counts


def _score(
    order: Order,
    footage: Footage,
    pipeline: Pipeline,
    statistics: Mapping[str, StreamStatistics],
) -> tuple[list[Series], tuple[Moment, ...]]:
    view = pipeline.new_view(order.rules, statistics)
    moments = Moments()
    clips: list[tuple[list[float], list[float]]] = []
    for look in footage.take(order.seconds * (1.0 - STATISTICS_SHARE)):
        if look.cut or not clips:
            view.reset()
            clips.append(([], []))
        score = pipeline.score(view, look.frame).score
        moments.offer(look.frame, score)
        clips[-1][0].append(look.frame.time_s)
        clips[-1][1].append(score)
    series = [(np.array(times), np.array(scores)) for times, scores in clips]
    return series, tuple(moments.highest_first())


def _threshold(series: list[Series], order: Order, rule: AlarmParameters) -> AlarmSpec:
    if not series:
        raise DataError("there is no footage for the threshold", mend="ask for more with --for")
    return fit_threshold(
        series,
        budget_per_hour=order.budget_per_hour,
        confidence=order.confidence,
        open_frames=rule.open_frames,
        close_s=rule.close_s,
        merge_s=rule.merge_s,
        seed=order.seed,
        source=f"camera {order.camera}, on site",
    )


def _concerns(
    pipeline: Pipeline,
    changes: Mapping[str, Change],
    alarm: AlarmSpec,
    counts: Mapping[str, int],
) -> dict[str, str]:
    """What a person must accept, in words."""
    concerns = {}
    weighty = {stream.name for stream in pipeline.specs if stream.weight > 0.0}
    less = {n: c for n, c in changes.items() if n in weighty and c.less_sensitive}
    if less:
        parts = [
            f"{name}: by {change.mean_rise:.2f} spreads on average, at worst "
            f"{change.worst_rise:.2f}; by more than one spread in {change.share_less:.0%} of cells"
            for name, change in less.items()
        ]
        concerns[LESS_SENSITIVE] = (
            "it takes more to raise an alarm than now (" + "; ".join(parts) + ")"
        )
    little = [
        f"{name} saw {counts[name]} energies" for name in weighty if counts[name] < MIN_SAMPLES
    ]
    if alarm.extrapolated:
        needed = hours_to_prove(alarm.budget_per_hour, alarm.confidence)
        per_day = HOURS_PER_DAY * alarm.budget_per_hour
        seen, wanted = (span_in_words(hours * SECONDS_PER_HOUR) for hours in (alarm.hours, needed))
        little.append(
            f"{seen} of footage cannot prove {per_day:g} false alarms a day, {wanted} without one "
            "could; the threshold is extrapolated"
        )
    if little:
        concerns[LITTLE_FOOTAGE] = "; ".join(little)
    return concerns
