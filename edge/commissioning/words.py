"""What commissioning has learned, in words: how much was seen, what it proves, what it changes."""

from __future__ import annotations

from calibration.normal_footage import SECONDS_PER_HOUR
from calibration.site import SiteRecord
from edge.clock import rfc3339
from edge.commissioning.figures import count_in_words, span_in_words
from edge.commissioning.learn import HOURS_PER_DAY, Learned


def learned_in_words(learned: Learned) -> list[str]:
    """The record, the change against what counts now, and the highest moments."""
    lines = record_in_words(learned.calibration.record)
    for name, change in learned.changes.items():
        direction = "more" if change.mean_rise > 0 else "less"
        lines.append(
            f"{name + ':':13}takes {abs(change.mean_rise):.2f} spreads {direction} to raise an "
            f"alarm than now (mean over cells; worst cell {change.worst_rise:+.2f})"
        )
    lines.append("             (a spread: by how much the energies of a place usually differ)")
    for moment in learned.moments:
        at = f"at {moment.time_s:.0f} s" if moment.at is None else rfc3339(moment.at)
        lines.append(f"high moment  {at}, score {moment.score:.3f}")
    return lines


def record_in_words(record: SiteRecord) -> list[str]:
    """How much was seen, and what it proves."""
    alarm = record.alarm
    level = f"{100 * alarm.confidence:g} %"
    lines = [
        f"camera       {record.camera}, {record.width}x{record.height}, {record.created}",
        f"statistics   {span_in_words(record.statistics_hours * SECONDS_PER_HOUR)} of footage",
    ]
    for name, seen in record.streams.items():
        lines.append(
            f"  {name}: {seen.samples} energies, {seen.median_per_cell:g} in a middling cell; "
            f"{seen.cells_few} of {seen.cells} cells saw few and lean on the others"
        )
    per_day = alarm.proven_per_hour * HOURS_PER_DAY
    seen_for = span_in_words(alarm.hours * SECONDS_PER_HOUR)
    footage = f"{seen_for} of other footage with {alarm.events_seen} alarm events"
    lines += [
        f"threshold    {alarm.threshold:.4f} from {footage}",
        f"budget       {alarm.budget_per_hour * HOURS_PER_DAY:g} false alarms a day",
        f"proven       at most {count_in_words(per_day)} a day, with {level} confidence",
    ]
    if alarm.interval is not None:
        low, high = alarm.interval
        lines.append(f"interval     extrapolated, {level}: {low:.3f} to {high:.3f}")
    return lines
