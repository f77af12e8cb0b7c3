"""A survey as tables of words: the same cells for terminal, Markdown and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.evaluation.report_facts import UNDEFINED, number, percent
from trainer.scenes import KINDS
from trainer.survey.figures import (
    BEHIND,
    Aucs,
    Events,
    KindFigures,
    PlaceFigures,
    mean_aucs,
    mean_of,
    total_events,
)
from trainer.survey.run_places import PlaceFailure, Survey

MARK = "!"
FUSION = "fused"
MARGIN = f"{FUSION} \N{MINUS SIGN} best"
LEGEND = (
    "Frame AUC in per cent: the anomalous frames of one kind against the normal frames of all "
    f"clips of the place; own clip: against those of the same clip. {MARGIN}: less "
    "the best stream of that row, which is known only afterwards. All kinds: mean over the kinds, "
    "each with the same weight; all frames: as `vigil evaluate` counts them. "
    f"{MARK} the fusion is more than {100 * BEHIND:g} points behind its better stream over all "
    "kinds. Found, delay and false alarms are at the bundle's threshold."
)


@dataclass(frozen=True)
class Cell:
    """One value; `auc` (0 to 1) lets a page colour it, `bad` is to be noticed."""

    text: str
    auc: float | None = None
    bad: bool = False


@dataclass(frozen=True)
class Row:
    """Cells from left to right, as many as the table's head has; `lead` rows sum up."""

    cells: tuple[Cell, ...]
    lead: bool = False


@dataclass(frozen=True)
class Table:
    """Head and rows; `left`: how many columns from the left hold words, not numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    left: int = 1


def place_table(figures: PlaceFigures, position: int) -> Table:
    """One place: kinds as rows; fusion, streams and events as columns."""
    streams = tuple(figures.weights)
    rows = [
        Row(
            (
                Cell(kind.kind),
                *_aucs(kind.pooled, streams),
                Cell(_points(kind.pooled.margin)),
                _auc(kind.within.fused),
                *_events(total_events([kind])),
            )
        )
        for kind in figures.kinds
    ]
    own = mean_of(kind.within.fused for kind in figures.kinds)
    mean = (*_aucs(figures.mean, streams), _margin(figures), _auc(own))
    rows.append(Row((Cell("all kinds"), *mean, *_events(figures.events)), lead=True))
    overall = (*_aucs(figures.overall, streams), Cell(_points(figures.overall.margin)))
    rows.append(Row((Cell("all frames"), *overall, *[Cell("")] * 4)))
    tail = (MARGIN, "own clip", "found", "delay", "false alarms")
    return Table(
        title=f"{position}  {figures.place.title}",
        head=("per cent", FUSION, *streams, *tail),
        rows=tuple(rows),
        notes=(f"weights: {_weights(figures)}", f"why: {figures.reason}", _cost(figures)),
    )


def overview(survey: Survey, *, wide: bool) -> Table:
    """All places, one a row: fusion, better stream, events; where it is wide, weights too."""
    rows: list[Row] = []
    head = ["#", "place", FUSION, "best", "stream", MARGIN, "found", "false/h"]
    head += ["weights"] * wide
    for position, outcome in enumerate(survey.outcomes, start=1):
        name = (Cell(str(position)), Cell(outcome.place.title))
        if isinstance(outcome, PlaceFailure):
            rest = [Cell(UNDEFINED)] * (len(head) - 3)
            rows.append(Row((*name, Cell("failed", bad=True), *rest)))
            continue
        best, events = outcome.mean.best, outcome.events
        rate = None if events is None else events.false_per_hour
        values = (
            _auc(outcome.mean.fused),
            _auc(best[1] if best else None),
            Cell(best[0] if best else UNDEFINED),
            _margin(outcome),
            _events(events)[0],
            Cell(number(rate, 0)),
            *[Cell(_weights(outcome))] * wide,
        )
        rows.append(Row((*name, *values)))
    return Table(title="Places, over all kinds", head=tuple(head), rows=tuple(rows), left=2)


def matrix(survey: Survey, *, wide: bool) -> Table:
    """Fused AUC of every kind at every place, with both means.

    Args:
        survey: What was found.
        wide: Places are rows, by name; else they are columns, by number, which is narrower.
    """
    kinds = [kind for kind in KINDS if any(kind in one.place.kinds for one in survey.outcomes)]
    grid = [[*_by_kind(one, kinds), _mean_cell(one, wide=wide)] for one in survey.outcomes]
    values = [[cell.auc for cell in line] for line in grid]
    grid.append([_auc(mean_of(column)) for column in zip(*values, strict=True)])
    titles = [one.place.title for one in survey.outcomes]
    if wide:
        names, head = [*titles, "all places"], (*kinds, "all kinds")
    else:
        grid = [list(column) for column in zip(*grid, strict=True)]
        names = [*kinds, "all kinds"]
        head = (*(str(position + 1) for position in range(len(titles))), "all")
    return Table(
        title="Fused AUC by kind and place",
        head=("per cent", *head),
        rows=tuple(
            Row((Cell(name), *line), lead=count == len(names))
            for count, (name, line) in enumerate(zip(names, grid, strict=True), start=1)
        ),
    )


def summary(survey: Survey) -> tuple[str, ...]:
    """What one wants to know first, in sentences."""
    places = f"{len(survey.outcomes)} place{'s' if len(survey.outcomes) != 1 else ''}"
    lines = [f"{survey.preset} at {places}"]
    if survey.failed:
        lines[0] += f", {len(survey.failed)} of them failed"
    means = [(one.mean.fused, one.place.title) for one in survey.measured]
    known = sorted((value, title) for value, title in means if value is not None)
    if known:
        mean = mean_of(value for value, _ in known)
        lines.append(
            f"fused AUC over all kinds: {percent(mean)} mean of the places; "
            f"lowest {percent(known[0][0])} ({known[0][1]}), "
            f"highest {percent(known[-1][0])} ({known[-1][1]})"
        )
        lines.append(_kinds_line(survey))
    behind = [one.place.title for one in survey.measured if one.behind]
    judged = sum(one.mean.margin is not None for one in survey.measured)
    if judged:
        lines.append(
            f"fusion more than {100 * BEHIND:g} points behind its better stream at {len(behind)} "
            f"of {judged}" + (f": {', '.join(behind)}" if behind else "")
        )
    events = total_events(kind for one in survey.measured for kind in one.kinds)
    if events is not None:
        lines.append(
            f"events found {events.found} of {events.total}; {events.false_alarms} false alarms "
            f"in {number(events.normal_s / 60)} minutes of normal test footage"
        )
    return tuple(lines)


def failures(survey: Survey) -> tuple[str, ...]:
    """One line for each place that failed."""
    return tuple(
        f"{position}  {one.place.title}: {one.what}"
        + (f" [{one.where}]" if one.where else "")
        + (f" -- {one.mend}" if one.mend else "")
        for position, one in enumerate(survey.outcomes, start=1)
        if isinstance(one, PlaceFailure)
    )


def _kinds_line(survey: Survey) -> str:
    by_kind: dict[str, list[KindFigures]] = {}
    for one in survey.measured:
        for kind in one.kinds:
            by_kind.setdefault(kind.kind, []).append(kind)
    means = [(mean_aucs([k.pooled for k in found]).fused, kind) for kind, found in by_kind.items()]
    known = sorted((value, kind) for value, kind in means if value is not None)
    hardest = ", ".join(f"{kind} {percent(value)}" for value, kind in known[:3])
    return f"lowest kinds over the places: {hardest}"


def _by_kind(outcome: PlaceFigures | PlaceFailure, kinds: Sequence[str]) -> list[Cell]:
    found = {} if isinstance(outcome, PlaceFailure) else {k.kind: k for k in outcome.kinds}
    return [_auc(found[kind].pooled.fused) if kind in found else Cell(UNDEFINED) for kind in kinds]


def _mean_cell(outcome: PlaceFigures | PlaceFailure, *, wide: bool) -> Cell:
    if isinstance(outcome, PlaceFailure):
        return Cell("failed" if wide else UNDEFINED, bad=True)
    cell = _auc(outcome.mean.fused)
    mark = f" {MARK}" if wide else MARK
    return replace(cell, text=cell.text + mark, bad=True) if outcome.behind else cell


def _aucs(scores: Aucs, streams: Sequence[str]) -> list[Cell]:
    return [_auc(scores.fused), *(_auc(scores.streams.get(name)) for name in streams)]


def _auc(value: float | None) -> Cell:
    return Cell(percent(value), value)


def _margin(figures: PlaceFigures) -> Cell:
    text = _points(figures.mean.margin)
    return Cell(f"{text} {MARK}", bad=True) if figures.behind else Cell(text)


def _points(margin: float | None) -> str:
    # Adding 0 makes a rounded -0.0 a plain 0.0.
    return UNDEFINED if margin is None else f"{round(100 * margin, 1) + 0.0:+.1f}"


def _events(events: Events | None) -> tuple[Cell, Cell, Cell]:
    """Found, delay, false alarms."""
    if events is None:
        return (Cell(UNDEFINED),) * 3
    delay = UNDEFINED if events.delay_s is None else f"{events.delay_s:.1f} s"
    found = Cell(f"{events.found}/{events.total}")
    return found, Cell(delay), Cell(str(events.false_alarms))


def _weights(figures: PlaceFigures) -> str:
    return ", ".join(f"{name} {weight:.2f}" for name, weight in figures.weights.items())


def _cost(figures: PlaceFigures) -> str:
    threshold = UNDEFINED if figures.threshold is None else f"{figures.threshold:.2f}"
    return (
        f"threshold {threshold}; trained in {number(figures.trained_s, 0)} s, "
        f"scored at {number(figures.scored_fps, 0)} frames/s"
    )
