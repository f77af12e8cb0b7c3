"""Maps and numbers of normal footage: empty cells stay empty, first looks do not count."""

from __future__ import annotations

import re

import numpy as np
import pytest

from trainer.evaluation.report_footage import (
    LEVELS,
    footage_figures,
    footage_rows,
    footage_svg,
    footage_values,
)
from trainer.evaluation.result import StreamFootage


def stream(count: list[list[int]], name: str = "pace") -> StreamFootage:
    grid = np.array(count, np.int64)
    return StreamFootage(name=name, kind="speed", weight=1.0, count=grid, samples=int(grid.sum()))


def area(path: str) -> float:
    """Area of the rectangles of a path."""
    boxes = re.findall(r"M([\d.]+) [\d.]+h([\d.]+)v([\d.]+)H", path)
    return sum(float(wide) * float(high) for _, wide, high in boxes)


def test_numbers_of_a_stream() -> None:
    figures = footage_figures(stream([[0, 0, 4], [8, 20, 0]]))
    assert (figures.cells, figures.without, figures.median_active) == (6, 0.5, 8.0)
    looks = footage_figures(stream([[13, 13, 13], [13, 213, 413]]))
    assert (looks.first_looks, looks.without) == (13, pytest.approx(4 / 6))
    assert looks.median_active == 300.0
    nothing = footage_figures(stream([[0, 0]]))
    assert (nothing.without, nothing.median_active) == (1.0, None)


def test_the_map_covers_what_was_seen_and_no_more() -> None:
    svg = footage_svg(np.array([[0, 3, 3], [50, 500, 5000]]), aspect=0.5)
    paths = re.findall(r'd="([^"]*)" fill="var\(--series-1\)" fill-opacity="([\d.]+)"', svg)
    assert [float(cover) for _, cover in paths] == [cover for _, cover in LEVELS]
    # 300 x 150 in 2 x 3 cells; neighbours of one level are one rectangle.
    assert [area(path) for path, _ in paths] == pytest.approx([15000.0, 7500.0, 7500.0, 7500.0])
    assert paths[0][0].count("M") == 1
    assert "<path" not in footage_svg(np.zeros((4, 5), np.int64))


def test_rows_and_values_of_a_report() -> None:
    footage = (stream([[0, 4], [8, 2000]]), stream([[0, 0]], "still"))
    (first, second) = footage_rows(footage)
    assert (first["without"], first["median"], first["grid"]) == ("25 %", "8", "2 x 2 cells")
    assert second["median"] == "none"
    values = footage_values(footage)
    assert values["pace"]["count"] == [[0, 4], [8, 2000]]
    assert values["still"]["median_active"] is None
