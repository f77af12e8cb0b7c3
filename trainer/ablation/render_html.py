"""The ablation table as one HTML file that asks nothing of any network.

Titles, sentences and messages are the user's: they enter the page with autoescape on. A drawing
beside each row shows its frame AUC with spread, and the paper's as a hollow mark.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trainer.ablation.render import caption, cells, headings, remarks
from trainer.ablation.table import AblationTable, GroupResult, RowResult

TEMPLATE = "table.html.j2"
# Drawing units of the axis; the template's viewBox is as wide.
_WIDTH = 120.0
_MARGIN = 6.0

Values = dict[str, Any]


def html_from_table(table: AblationTable) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    page = {
        "title": table.title,
        "caption": caption(table),
        "headings": headings(table),
        "groups": [_group(table, group) for group in table.groups],
        "version": version("vigil"),
    }
    return environment.get_template(TEMPLATE).render(page)


def _group(table: AblationTable, group: GroupResult) -> Values:
    values = [value for row in group.rows for value in _extent(row)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return {
        "title": group.title,
        "question": group.question,
        "range": f"{100 * low:.1f} to {100 * high:.1f}" if values else "",
        "rows": [
            {
                "name": row.name,
                "what": row.what,
                "state": row.state,
                "base": row.base,
                "cells": cells(row, table),
                "remarks": remarks(row, table.seeds),
                "mark": _mark(row, low, high),
            }
            for row in group.rows
        ],
    }


def _extent(row: RowResult) -> list[float]:
    """All frame AUCs that a row's drawing has to hold, fractions."""
    found = row.figures["frame_auc"]
    values = []
    if found is not None:
        spread = found.deviation or 0.0
        values += [found.mean - spread, found.mean + spread]
    if row.beside is not None and row.beside.frame_auc is not None:
        values.append(row.beside.frame_auc / 100.0)
    return values


def _mark(row: RowResult, low: float, high: float) -> Values:
    """Places on the axis; None where there is nothing to draw."""

    def place(value: float) -> str:
        share = (value - low) / (high - low) if high > low else 0.5
        return f"{_MARGIN + share * (_WIDTH - 2 * _MARGIN):.1f}"

    found = row.figures["frame_auc"]
    beside = None if row.beside is None else row.beside.frame_auc
    spread = 0.0 if found is None else found.deviation or 0.0
    return {
        "mean": None if found is None else place(found.mean),
        "from": None if found is None else place(found.mean - spread),
        "to": None if found is None else place(found.mean + spread),
        "beside": None if beside is None else place(beside / 100.0),
    }
