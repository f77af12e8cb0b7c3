"""A survey for people and programs: terminal, Markdown, JSON, and one page that asks for nothing.

Names of presets, streams and files are the user's: each form escapes them in its own way.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from trainer.survey.figures import BEHIND, PlaceFigures
from trainer.survey.run_places import PlaceFailure, Survey
from trainer.survey.tables import (
    LEGEND,
    Cell,
    Table,
    failures,
    matrix,
    overview,
    place_table,
    summary,
)

TEMPLATE = "survey.html.j2"
SCHEMA_VERSION = 1
_LONGEST_WHOLE = 20  # characters, as below
_ANY_WIDTH = 1000
# Of GitHub's Markdown and of HTML within it: whatever could begin a mark.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>&|#~])")


def print_survey(survey: Survey, console: Console) -> None:
    """A block for each place, the places side by side, and kinds by places."""
    for table in _blocks(survey):
        _print_table(table, console)
    if survey.measured:
        _print_table(overview(survey, wide=False), console)
        _print_table(matrix(survey, wide=False), console)
    for line in (*failures(survey), *summary(survey)):
        console.print(Text(line), soft_wrap=True)


def markdown_from_survey(survey: Survey) -> str:
    """The same as Markdown, summary first, ending in a newline."""
    parts = [f"# Survey: {_markdown(survey.preset)}"]
    parts.append("\n".join(f"- {_markdown(line)}" for line in summary(survey)))
    if survey.failed:
        lines = "\n".join(f"- {_markdown(line)}" for line in failures(survey))
        parts.append(f"## Failed\n\n{lines}")
    parts += [_markdown_table(table) for table in _all_tables(survey)]
    parts.append(_markdown(LEGEND))
    return "\n\n".join(parts) + "\n"


def html_from_survey(survey: Survey) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["heat"] = _heat
    return environment.get_template(TEMPLATE).render(
        preset=survey.preset,
        summary=summary(survey),
        failures=failures(survey),
        tables=_all_tables(survey),
        legend=LEGEND,
        version=version("vigil"),
    )


def json_from_survey(survey: Survey) -> str:
    """All figures, with the margins of the fusion; fractions and seconds; ends in a newline."""
    values = {
        "schema_version": SCHEMA_VERSION,
        "preset": survey.preset,
        "behind_by_more_than": BEHIND,
        "summary": list(summary(survey)),
        "places": [_values(outcome) for outcome in survey.outcomes],
    }
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _blocks(survey: Survey) -> list[Table]:
    return [
        place_table(outcome, position)
        for position, outcome in enumerate(survey.outcomes, start=1)
        if isinstance(outcome, PlaceFigures)
    ]


def _all_tables(survey: Survey) -> list[Table]:
    if not survey.measured:
        return []
    return [overview(survey, wide=True), matrix(survey, wide=True), *_blocks(survey)]


def _print_table(table: Table, console: Console) -> None:
    console.print(Text(table.title, style="italic"), soft_wrap=True)
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column, name in enumerate(table.head):
        # Headings and long names may break between words, numbers may not.
        width = max(len(row.cells[column].text) for row in table.rows)
        width = max(min(width, _LONGEST_WHOLE), *(len(word) for word in name.split()))
        justify: Literal["left", "right"] = "left" if column < table.left else "right"
        shown.add_column(Text(name), justify=justify, min_width=width)
    for row in table.rows:
        cells = [Text(cell.text, style="bold red" if cell.bad else "") for cell in row.cells]
        shown.add_row(*cells, style="bold" if row.lead else "")
    # A line too long for the terminal is better than a figure that is cut off.
    needed = Measurement.get(console, console.options.update(width=_ANY_WIDTH), shown).minimum
    console.print(shown, width=max(needed, console.width), crop=False)
    for note in table.notes:
        console.print(Text(note), soft_wrap=True)
    if table.notes:
        console.print()


def _markdown_table(table: Table) -> str:
    ruler = ["---" if column < table.left else "---:" for column in range(len(table.head))]
    lines = [_markdown_row([_markdown(name) for name in table.head]), _markdown_row(ruler)]
    for row in table.rows:
        texts = [_markdown(cell.text) for cell in row.cells]
        lines.append(_markdown_row([f"**{t}**" if row.lead and t else t for t in texts]))
    notes = [f"\n{_markdown(note)}" for note in table.notes]
    return "\n".join([f"## {_markdown(table.title)}", "", *lines, *notes])


def _markdown_row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _heat(cell: Cell) -> str:
    """Class of a cell by its AUC: h0 at chance and below, h5 from 95 per cent on."""
    if cell.auc is None:
        return ""
    return f"h{sum(cell.auc >= limit for limit in (0.5, 0.65, 0.75, 0.85, 0.95))}"


def _values(outcome: PlaceFigures | PlaceFailure) -> dict[str, Any]:
    place = {"title": outcome.place.title, **outcome.place.model_dump(mode="json")}
    if isinstance(outcome, PlaceFailure):
        error = {"what": outcome.what, "where": outcome.where, "mend": outcome.mend}
        return {"place": place, "error": error}
    values = outcome.model_dump(mode="json", exclude={"place", "schema_version"})
    for kind, found in zip(values["kinds"], outcome.kinds, strict=True):
        kind["margin"] = found.pooled.margin
    events = outcome.events
    return {
        "place": place,
        "error": None,
        **values,
        "margin": outcome.mean.margin,
        "behind": outcome.behind,
        "found": None if events is None else events.found,
        "events": None if events is None else events.total,
        "false_alarms": None if events is None else events.false_alarms,
        "false_alarms_per_hour": None if events is None else events.false_per_hour,
    }
