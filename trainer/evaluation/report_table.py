"""The evaluation as a short table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from trainer.evaluation.report_facts import (
    UNDEFINED,
    detection_rows,
    event_facts,
    percent,
    speed_summary,
)
from trainer.evaluation.result import Evaluation


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print figures per score, then events and speed."""
    origin = evaluation.provenance
    frames = evaluation.speed.frames
    title = (
        f"{origin.bundle} on {origin.dataset}: {len(evaluation.timelines)} clips, {frames} frames"
    )
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("per cent", no_wrap=True)
    for heading in ("frame AUC", "EER", "pixel AUC", "EER", "macro AUC"):
        table.add_column(heading, justify="right")
    for row in detection_rows(evaluation):
        table.add_row(escape(row.name), *row.figures, style="bold" if row.lead else "")
    console.print(table)
    for name, value in _facts(evaluation):
        console.print(f"{name:<21}{value}", markup=False, highlight=False, soft_wrap=True)
    for note in origin.notes:
        console.print(f"{'note':<21}{note}", markup=False, highlight=False, soft_wrap=True)


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    regions, events, alarm = evaluation.regions, evaluation.events, evaluation.alarm
    if regions is not None:
        facts.append(("RBDC, TBDC", f"{percent(regions.rbdc)} %, {percent(regions.tbdc)} %"))
    if alarm is not None and events is not None:
        facts += [
            (fact.name, f"{fact.value}; {fact.note}" if fact.note else fact.value)
            for fact in event_facts(alarm, events)
        ]
    else:
        facts.append(("Events", UNDEFINED))
    facts.append(("Speed", speed_summary(evaluation.speed)))
    return facts
