"""ROC curves and score timelines as SVG that takes its colours from the page.

matplotlib draws in marker colours, which are then replaced by CSS variables: one drawing serves the
light and the dark page. No text of the user enters a drawing; names stand in the page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trainer.evaluation.metrics_frame import Roc
from trainer.evaluation.result import ClipTimeline, Rates

# Marker colour in the drawing -> CSS variable of the page.
INK, MUTED, GRID = "#010101", "#010102", "#010103"
TRUTH, ALARM, LIMIT = "#010104", "#010105", "#010106"
SERIES = ("#010111", "#010112", "#010113", "#010114", "#010115", "#010116")
BASELINE = "#010120"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    TRUTH: "--truth",
    ALARM: "--alarm",
    LIMIT: "--limit",
    BASELINE: "--baseline",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
# Colour is never the only difference between two curves.
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5.0, 2.0),
    (2.0, 1.5),
    (6.0, 2.0, 1.5, 2.0),
    (9.0, 3.0),
    (3.0, 3.0),
)
BASELINE_DASHES = (1.0, 2.0)
# More points than this cannot be told apart in a drawing as wide as a page.
MAX_POINTS = 1200

# Any: matplotlib types this as a dictionary of its several hundred literal names.
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "font.size": 9.0,
    "axes.linewidth": 0.7,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.color": INK,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class CurveLine:
    """A curve and how it is drawn: `colour` is a marker colour, `dashes` in points ((): solid)."""

    curve: Roc
    colour: str
    dashes: tuple[float, ...]
    width: float = 1.6


def roc_svg(lines: Sequence[CurveLine], *, found: str, operating_point: Rates | None = None) -> str:
    """One square ROC drawing.

    Args:
        lines: Curves, drawn last to first so that the first lies on top.
        found: Words for the vertical axis.
        operating_point: Where the alarm threshold lies.

    Returns:
        An `<svg>` element to be put into HTML.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.3, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [1, 0], color=GRID, linewidth=0.8, zorder=1)
        for line in reversed(lines):
            (drawn,) = axes.plot(
                line.curve.false_positive,
                line.curve.true_positive,
                color=line.colour,
                linewidth=line.width,
                zorder=3,
            )
            if line.dashes:
                drawn.set_dashes(line.dashes)
        if operating_point is not None:
            axes.plot(
                operating_point.false_positive,
                operating_point.true_positive,
                "o",
                color=ALARM,
                markersize=6,
                zorder=4,
                clip_on=False,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.003), xlabel="normal frames flagged", ylabel=found)
        axes.set_xticks(np.linspace(0, 1, 6), ["0", "20 %", "40 %", "60 %", "80 %", "100 %"])
        axes.set_yticks(np.linspace(0, 1, 6), ["0", "20 %", "40 %", "60 %", "80 %", "100 %"])
        axes.grid(color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        return _svg_from_figure(figure, salt=found)


def timeline_svg(clip: ClipTimeline, *, threshold: float | None, top: float, number: int) -> str:
    """Scores of one clip over its frames, ground truth shaded, alarms as bars below.

    Args:
        clip: Scores, ground-truth runs and alarms of the clip.
        threshold: Alarm threshold, or None if the bundle has none.
        top: Upper end of the score axis; the same for all clips, so that they can be compared.
        number: Number of the drawing in the page, makes its ids unique.

    Returns:
        An `<svg>` element to be put into HTML.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 1.25), layout="constrained")
        axes = figure.add_subplot()
        for start, end in clip.truth or ():
            axes.axvspan(start - 0.5, end - 0.5, color=TRUTH, linewidth=0, zorder=0)
        x, y = _thinned(clip.index.astype(np.float64), clip.score)
        axes.plot(x, np.minimum(y, top), color=SERIES[0], linewidth=1.1, zorder=3)
        if threshold is not None:
            axes.axhline(threshold, color=LIMIT, linewidth=0.9, dashes=(4, 2), zorder=2)
        _draw_alarms(axes, clip, top)
        last = float(clip.index[-1]) if clip.index.size else 1.0
        axes.set(xlim=(-0.5, last + 0.5), ylim=(-0.09 * top, top))
        axes.yaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2, prune=None))
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.spines["bottom"].set_color(GRID)
        axes.spines["left"].set_color(GRID)
        return _svg_from_figure(figure, salt=f"timeline-{number}")


def score_ceiling(clips: Sequence[ClipTimeline], threshold: float | None) -> float:
    """Upper end of the score axis for all clips: 99.9 % of the scores fit below it."""
    scores = [clip.score for clip in clips if clip.score.size]
    highest = float(np.quantile(np.concatenate(scores), 0.999)) if scores else 0.0
    return 1.05 * max(highest, threshold or 0.0, 1e-6)


def _draw_alarms(axes: Axes, clip: ClipTimeline, top: float) -> None:
    for alarm in clip.alarms:
        axes.broken_barh(
            [(alarm[0] - 0.5, max(1.0, alarm[1] - alarm[0]))],
            (-0.075 * top, 0.05 * top),
            color=ALARM,
            linewidth=0,
            zorder=4,
        )


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest point of each block, so that no peak is lost by thinning."""
    if x.size <= MAX_POINTS:
        return x, y
    block = -(-2 * x.size // MAX_POINTS)
    starts = range(0, x.size, block)
    kept = sorted(
        {
            start + int(pick(y[start : start + block]))
            for start in starts
            for pick in (np.argmin, np.argmax)
        }
    )
    return x[kept], y[kept]


def _svg_from_figure(figure: Figure, *, salt: str) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Inside HTML an <svg> needs no name spaces, and the page is to hold no address at all.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # The page sizes the drawing; ids of groups would repeat from drawing to drawing.
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()
