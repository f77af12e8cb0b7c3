"""How much normal footage stands behind each cell of each stream: a small map, and numbers.

The map is drawn here as SVG: one path for each level, in colours of the page. It takes no text of
the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.events.footage import first_looks, moving_samples
from trainer.evaluation.result import StreamFootage

# Lower ends of the levels in samples, with how much of the colour covers the page.
LEVELS = ((1, 0.16), (10, 0.36), (100, 0.62), (1000, 1.0))
LEVEL_NAMES = ("1 to 9", "10 to 99", "100 to 999", "1,000 and more")

_WIDTH = 300.0  # of a drawing, in its own units; the page sizes it
_ASPECT = 2 / 3  # height to width of a picture, where the page is not told

Row = dict[str, Any]


@dataclass(frozen=True)
class FootageFigures:
    """Numbers of one stream.

    Attributes:
        cells: Cells of its grid.
        without: Share of them in which normal footage showed nothing moving.
        median_active: Median samples of the others; None if there are none.
        first_looks: Samples of every cell that stem from whole pictures, left out of the others.
    """

    cells: int
    without: float
    median_active: float | None
    first_looks: int


def footage_figures(stream: StreamFootage) -> FootageFigures:
    """The numbers of one stream."""
    moving = moving_samples(stream.count)
    active = moving[moving > 0]
    return FootageFigures(
        cells=int(moving.size),
        without=float((moving == 0).mean()) if moving.size else 1.0,
        median_active=float(np.median(active)) if active.size else None,
        first_looks=first_looks(stream.count),
    )


def footage_rows(footage: Sequence[StreamFootage], *, aspect: float = _ASPECT) -> list[Row]:
    """What the page shows of each stream.

    Args:
        footage: The streams.
        aspect: Height of a picture over its width.
    """
    rows = []
    for stream in footage:
        figures = footage_figures(stream)
        grid_rows, grid_columns = stream.count.shape
        middle = figures.median_active
        rows.append(
            {
                "name": stream.name,
                "kind": stream.kind,
                "grid": f"{grid_rows} x {grid_columns} cells",
                "without": f"{100 * figures.without:.0f} %",
                "median": "none" if middle is None else f"{middle:,.0f}",
                "samples": f"{stream.samples:,}",
                "first_looks": figures.first_looks,
                "svg": footage_svg(moving_samples(stream.count), aspect=aspect),
            }
        )
    return rows


def footage_values(footage: Sequence[StreamFootage]) -> dict[str, Row]:
    """The JSON object: by stream, with the samples of every cell as rows of the grid."""
    values = {}
    for stream in footage:
        figures = footage_figures(stream)
        values[stream.name] = {
            "kind": stream.kind,
            "rows": int(stream.count.shape[0]),
            "columns": int(stream.count.shape[1]),
            "samples": stream.samples,
            "first_looks": figures.first_looks,
            "share_without": figures.without,
            "median_active": figures.median_active,
            "count": moving_samples(stream.count).tolist(),
        }
    return values


def footage_svg(moving: NDArray[np.int64], *, aspect: float = _ASPECT) -> str:
    """Samples of each cell as shades; cells without any stay empty.

    Args:
        moving: int64, rows x columns.
        aspect: Height of the picture over its width.

    Returns:
        An `<svg>` element to be put into HTML.
    """
    height = _WIDTH * aspect
    level = np.digitize(moving, [low for low, _ in LEVELS])
    paths = [
        f'<path d="{_level_path(level == number, height)}" fill="var(--series-1)" '
        f'fill-opacity="{cover:g}"/>'
        for number, (_, cover) in enumerate(LEVELS, start=1)
        if (level == number).any()
    ]
    frame = (
        f'<rect x="0.5" y="0.5" width="{_WIDTH - 1:g}" height="{height - 1:.1f}" fill="none" '
        'stroke="var(--muted)" stroke-width="0.7"/>'
    )
    box = f'viewBox="0 0 {_WIDTH:g} {height:.1f}"'
    drawing = "".join(paths) + frame
    # Crisp edges: otherwise hairlines of the page show between cells.
    return (
        f'<svg {box} aria-hidden="true" focusable="false" shape-rendering="crispEdges">'
        f"{drawing}</svg>"
    )


def _level_path(cells: NDArray[np.bool_], height: float) -> str:
    """One rectangle for each run of cells in a row."""
    rows, columns = cells.shape
    wide, high = _WIDTH / columns, height / rows
    parts = []
    for row in range(rows):
        edges = np.flatnonzero(np.diff(np.r_[0, cells[row].astype(np.int8), 0]))
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            parts.append(
                f"M{first * wide:.2f} {row * high:.2f}h{(end - first) * wide:.2f}"
                f"v{high:.2f}H{first * wide:.2f}z"
            )
    return "".join(parts)
