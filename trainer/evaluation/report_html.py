"""The evaluation as one HTML file that holds everything it shows and asks nothing of any network.

Names of clips, streams and folders are the user's: they enter the page through jinja2 with
autoescape on, and never a drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trainer.evaluation import report_plots as plots
from trainer.evaluation.gallery import GAP_S, Moment
from trainer.evaluation.report_facts import (
    DetectionRow,
    detection_rows,
    event_facts,
    headline,
    number,
    percent,
    provenance_facts,
    speed_summary,
)
from trainer.evaluation.report_footage import LEVEL_NAMES, LEVELS, footage_rows
from trainer.evaluation.report_pictures import frame_picture, heat_picture
from trainer.evaluation.report_reasons import alarm_rows
from trainer.evaluation.report_trust import trust_rows
from trainer.evaluation.result import ClipTimeline, Detection, Evaluation, Level, Rates, Speed

TEMPLATE = "report.html.j2"
NO_THRESHOLD = (
    "This bundle has no alarm threshold, so there are no alarms to count; "
    "`vigil calibrate` sets one."
)
NO_TRUTH = "No test clip says which of its frames are anomalous, so there are no events to count."

Row = dict[str, Any]


def html_from_evaluation(evaluation: Evaluation) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    return environment.get_template(TEMPLATE).render(_page(evaluation))


def _page(evaluation: Evaluation) -> Row:
    provenance = evaluation.provenance
    alarm = evaluation.alarm
    lines = _lines(evaluation)
    top = _map_top(evaluation)
    return {
        "title": f"{provenance.bundle} on {provenance.dataset}",
        "provenance": provenance,
        "protocol": evaluation.protocol[:1].upper() + evaluation.protocol[1:],
        "clips": len(evaluation.timelines),
        "frames": f"{evaluation.speed.frames:,}",
        "cards": headline(evaluation),
        "detection": [_detection_row(line) for line in lines],
        "regions": _regions(evaluation),
        "roc": _roc(evaluation, lines),
        "events": None
        if alarm is None or evaluation.events is None
        else event_facts(alarm, evaluation.events),
        "events_missing": NO_THRESHOLD if alarm is None else NO_TRUTH,
        "threshold": None if alarm is None else f"{alarm.threshold:.2f}",
        "alarms": alarm_rows(evaluation),
        "trust": trust_rows(evaluation),
        "footage": _footage(evaluation),
        "levels": _levels(),
        "timelines": _timelines(evaluation),
        "shelves": _shelves(evaluation, top),
        "map_top": f"{top:.2f}",
        "gap": f"{GAP_S:g}",
        "speed": _speed(evaluation.speed),
        "facts": provenance_facts(evaluation),
        "version": version("vigil"),
    }


@dataclass(frozen=True)
class _Line:
    """One score: its row in the table and its look in the drawings."""

    row: DetectionRow
    colour: str
    dashes: tuple[float, ...] = ()


def _lines(evaluation: Evaluation) -> list[_Line]:
    looks = cycle(zip(plots.SERIES[1:], plots.DASHES[1:], strict=True))
    lines = []
    for row in detection_rows(evaluation):
        if row.kind == "bundle":
            lines.append(_Line(row, plots.SERIES[0]))
        elif row.kind == "stream":
            lines.append(_Line(row, *next(looks)))
        else:
            lines.append(_Line(row, plots.BASELINE, plots.BASELINE_DASHES))
    return lines


def _detection_row(line: _Line) -> Row:
    return {
        "name": line.row.name,
        "lead": line.row.lead,
        "variable": plots.VARIABLES[line.colour],
        "dashes": " ".join(f"{length:g}" for length in line.dashes),
        "figures": line.row.figures,
    }


def _regions(evaluation: Evaluation) -> str | None:
    regions, detector = evaluation.regions, evaluation.detector
    parts = []
    if regions is not None:
        parts.append(
            f"Regions found (RBDC) {percent(regions.rbdc)} %, "
            f"tracks found (TBDC) {percent(regions.tbdc)} %, of {regions.regions} regions in "
            f"{regions.tracks} tracks: connected mask components, linked by overlap."
        )
    if detector.macro_clips:
        parts.append(f"Macro: mean over the {detector.macro_clips} clips with both classes.")
    if detector.pixel.auc is None:
        parts.append("No pixel figures: the test clips have no masks with anomalous pixels.")
    if detector.frame.auc is None:
        parts.append(
            "No frame figures: the test clips do not have labelled frames of both classes."
        )
    return " ".join(parts) or None


def _roc(evaluation: Evaluation, lines: list[_Line]) -> list[Row]:
    point = evaluation.at_threshold
    frame = _roc_plot("Frame level", "anomalous frames found", lines, lambda d: d.frame, point)
    pixel = _roc_plot(
        "Pixel level", "anomalous frames located", lines, lambda d: d.pixel, operating_point=None
    )
    return [plot for plot in (frame, pixel) if plot is not None]


def _roc_plot(
    title: str,
    found: str,
    lines: list[_Line],
    level: Callable[[Detection], Level],
    operating_point: Rates | None,
) -> Row | None:
    drawn = [
        plots.CurveLine(curve, line.colour, line.dashes, 2.0 if line.row.lead else 1.4)
        for line in lines
        if (curve := level(line.row.detection).curve) is not None
    ]
    if not drawn:
        return None
    svg = plots.roc_svg(drawn, found=found, operating_point=operating_point)
    caption = "On the falling line lies the equal error rate."
    if operating_point is not None:
        caption += " The dot is the alarm threshold, frame by frame."
    return {
        "title": title,
        "label": f"ROC curves, {title.lower()}; the figures are in the table above",
        "svg": _drawing(svg),
        "caption": caption,
    }


def _timelines(evaluation: Evaluation) -> list[Row]:
    threshold = None if evaluation.alarm is None else evaluation.alarm.threshold
    top = plots.score_ceiling(evaluation.timelines, threshold)
    return [
        {
            "name": clip.name,
            "facts": _clip_facts(clip),
            "svg": _drawing(plots.timeline_svg(clip, threshold=threshold, top=top, number=number)),
        }
        for number, clip in enumerate(evaluation.timelines, start=1)
    ]


def _clip_facts(clip: ClipTimeline) -> str:
    parts = [f"{clip.index.size:,} frames at {clip.fps:g} per second"]
    if clip.skipped:
        parts.append(f"{clip.skipped} unreadable")
    if clip.truth is None:
        parts.append("no ground truth")
    elif clip.auc is not None:
        parts.append(f"AUC {percent(clip.auc)} %")
    if clip.alarms:
        parts.append(f"{len(clip.alarms)} alarm{'s' if len(clip.alarms) > 1 else ''}")
    return ", ".join(parts)


def _map_top(evaluation: Evaluation) -> float:
    """Map value of full colour: the highest shown, so that pictures can be compared."""
    pictures = evaluation.pictures
    moments = (*pictures.highest, *pictures.lowest, *pictures.false_alarms, *pictures.misses)
    return max((float(moment.map.max(initial=0.0)) for moment in moments), default=1.0) or 1.0


def _shelves(evaluation: Evaluation, top: float) -> list[Row]:
    pictures = evaluation.pictures
    unlabelled = "The test clips name no such frames."
    shelves = (
        ("Most anomalous by score", pictures.highest, "No frame was scored."),
        ("Least anomalous by score", pictures.lowest, "No frame was scored."),
        ("Highest scores among normal frames", pictures.false_alarms, unlabelled),
        ("Lowest scores among anomalous frames", pictures.misses, unlabelled),
    )
    return [
        {"title": title, "moments": [_moment(m, top) for m in moments], "empty": empty}
        for title, moments, empty in shelves
    ]


def _moment(moment: Moment, top: float) -> Row:
    verdicts = {True: "anomalous", False: "normal", None: ""}
    return {
        "clip": moment.clip,
        "index": moment.index,
        "score": f"{moment.score:.2f}",
        "verdict": verdicts[moment.anomalous],
        "frame": frame_picture(moment),
        "heat": heat_picture(moment, top=top),
        "why": "" if moment.explanation is None else moment.explanation.why,
        "stream": "" if moment.explanation is None else moment.explanation.stream or "",
    }


def _footage(evaluation: Evaluation) -> list[Row]:
    shown = evaluation.pictures.highest
    height, width = shown[0].picture.shape[:2] if shown else (2, 3)
    rows = footage_rows(evaluation.footage, aspect=height / width)
    return [{**row, "svg": _drawing(row["svg"])} for row in rows]


def _levels() -> list[Row]:
    covers = [cover for _, cover in LEVELS]
    return [
        {"name": name, "cover": f"{cover:g}"}
        for name, cover in zip(LEVEL_NAMES, covers, strict=True)
    ]


def _speed(speed: Speed) -> Row:
    frames = max(speed.frames, 1)
    stages = {"read and decode": 1e3 * speed.read_s / frames, **speed.stage_ms}
    longest = max(stages.values()) or 1.0
    return {
        "summary": speed_summary(speed),
        "stages": [
            {"name": name, "ms": number(ms, 2), "share": f"{100 * ms / longest:.1f}"}
            for name, ms in stages.items()
        ],
    }


def _drawing(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 (made by modules that take no text of the user)
