"""The ablation table in words and cells: for the terminal, as Markdown and as JSON text.

`cells` is the one place that turns a row into text; the HTML page uses it too.
"""

from __future__ import annotations

import json

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.segment import Segments
from rich.table import Table

from trainer.ablation.table import (
    FIGURES,
    AblationTable,
    GroupResult,
    RowResult,
    Spread,
    values_from_table,
)
from trainer.evaluation.report_facts import UNDEFINED

PRECISIONS = ("fp32", "fp16", "int8")
_WIDEST = 2000  # characters of a printed row
_MARKDOWN_SPECIAL = str.maketrans({"|": r"\|", "\n": " ", "<": "&lt;"})


def headings(table: AblationTable) -> list[str]:
    """One for each of `cells`."""
    return [
        "frame AUC",
        "EER",
        "pixel AUC",
        "EER",
        "by clip",
        *(["paper's protocol"] if _any_paper(table) else []),
        "published",
        *(f"{name} alone" for name in table.streams),
        "\N{GREEK CAPITAL LETTER DELTA} frame AUC",
        "\N{GREEK CAPITAL LETTER DELTA} pixel AUC",
        "parameters",
        "network MB",
        "ms/frame",
        "train min",
    ]


def cells(row: RowResult, table: AblationTable) -> list[str]:
    """Mean and spread of every figure; AUC, EER and differences in per cent; a dash: not known."""
    if row.base:
        changes = ["base", "base"]
    else:
        changes = [
            _per_cent(row.difference.get(name), sign=True) for name in ("frame_auc", "pixel_auc")
        ]
    return [
        *(_per_cent(row.figures[name]) for name in FIGURES),
        _per_cent(row.clip_auc),
        *([_per_cent(row.paper_auc)] if _any_paper(table) else []),
        _published(row),
        *(_per_cent(row.streams.get(name)) for name in table.streams),
        *changes,
        UNDEFINED if row.parameters is None else f"{row.parameters:,}",
        _sizes(row),
        _number(row.ms_per_frame),
        _number(row.train_minutes),
    ]


def remarks(row: RowResult, seeds: tuple[int, ...]) -> list[str]:
    """What must be said of a row: not finished, failed and why, what others report."""
    said = []
    if row.state == "pending":
        said.append("not finished")
    elif len(row.seeds) < len(seeds):
        said.append(f"{len(row.seeds)} of {len(seeds)} seeds")
    said += [f"seed {one.seed} failed: {one.what}" for one in row.failures]
    if row.outdated:
        numbers = ", ".join(str(seed) for seed in row.outdated)
        said.append(f"figures of seed {numbers} are of another recipe or other versions")
    beside = row.beside
    if beside is not None:
        names = [name for name in FIGURES if getattr(beside, name) is not None]
        figures = ", ".join(f"{_words(name)} {getattr(beside, name):g}" for name in names)
        said.append(f"{beside.source}: {figures or 'no figures'}")
    return said


def caption(table: AblationTable) -> str:
    """What stands behind the figures, in a sentence or two."""
    seeds = ", ".join(str(seed) for seed in table.seeds)
    count = len(table.rows)
    done = sum(row.state == "done" for row in table.rows)
    threads = " and ".join(str(number) for number in table.threads)
    paper = (
        ", `paper's protocol` all of what the detector's paper does" if _any_paper(table) else ""
    )
    spoken = f" Times with {threads} thread(s)." if threads else ""
    return (
        f"{done} of {count} rows finished; seed(s) {seeds}. AUC, EER and differences in per cent: "
        f"mean \N{PLUS-MINUS SIGN} standard deviation over seeds; `by clip` is the frame AUC with "
        f"scores normalised by clip{paper}, `network MB` the networks' files in FP32 / FP16 / "
        f"INT8. Base recipe: {table.base}. "
        f"Data set: {table.dataset}.{spoken}"
    )


def print_table(table: AblationTable, console: Console) -> None:
    """One table for each group; as wide as it must be, whatever the width of the terminal."""
    console.print(table.title, style="bold", markup=False, highlight=False)
    console.print(caption(table), markup=False, highlight=False, soft_wrap=True)
    for group in table.groups:
        console.print()
        console.print(f"{group.title}: {group.question}", markup=False, soft_wrap=True)
        drawn = _drawn(table, group)
        unlimited = console.options.update(max_width=_WIDEST)
        needed = console.measure(drawn, options=unlimited).maximum
        options = console.options.update(width=needed, max_width=needed)
        console.print(Segments(console.render(drawn, options)), crop=False, soft_wrap=True, end="")


def markdown_from_table(table: AblationTable) -> str:
    """The table as Markdown, ending in a newline."""
    lines = [f"# {_plain(table.title)}", "", _plain(caption(table))]
    heads = ["row", *headings(table), "remarks"]
    rule = ["---", *("---:" for _ in headings(table)), "---"]
    for group in table.groups:
        lines += ["", f"## {_plain(group.title)}", "", _plain(group.question), ""]
        lines += [_markdown_row(heads), _markdown_row(rule)]
        for row in group.rows:
            name = f"**{row.name}** {row.what}" if row.base else f"{row.name}: {row.what}"
            said = "; ".join(remarks(row, table.seeds))
            lines.append(_markdown_row([name, *cells(row, table), said]))
    return "\n".join(lines) + "\n"


def json_from_table(table: AblationTable) -> str:
    """The table as JSON text, ending in a newline."""
    return json.dumps(values_from_table(table), indent=2, allow_nan=False) + "\n"


def _drawn(table: AblationTable, group: GroupResult) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("row", no_wrap=True)
    for heading in headings(table):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("remarks", no_wrap=True)
    for row in group.rows:
        style = {"failed": "red", "pending": "dim"}.get(row.state, "bold" if row.base else "")
        said = escape("; ".join(" ".join(one.split()) for one in remarks(row, table.seeds)))
        drawn.add_row(row.name, *cells(row, table), said, style=style)
    return drawn


def _per_cent(value: Spread | None, *, sign: bool = False) -> str:
    if value is None:
        return UNDEFINED
    mean = f"{100 * value.mean:+.1f}" if sign else f"{100 * value.mean:.1f}"
    return _with_deviation(mean, value.deviation, scale=100.0)


def _any_paper(table: AblationTable) -> bool:
    """Whether any row was measured by a protocol of its own."""
    return any(row.paper_auc is not None for row in table.rows)


def _published(row: RowResult) -> str:
    known = None if row.beside is None else row.beside.frame_auc
    return UNDEFINED if known is None else f"{known:g}"


def _sizes(row: RowResult) -> str:
    """Megabytes in FP32 / FP16 / INT8; in FP16 alone where no more is known."""
    sizes = [row.precision_bytes.get(name) for name in PRECISIONS]
    if not row.precision_bytes:
        sizes[PRECISIONS.index("fp16")] = row.network_bytes
    if all(size is None for size in sizes):
        return UNDEFINED
    return " / ".join(UNDEFINED if size is None else f"{size / 1e6:.2f}" for size in sizes)


def _number(value: Spread | None) -> str:
    if value is None:
        return UNDEFINED
    return _with_deviation(f"{value.mean:,.1f}", value.deviation, scale=1.0)


def _with_deviation(mean: str, deviation: float | None, *, scale: float) -> str:
    return mean if deviation is None else f"{mean} \N{PLUS-MINUS SIGN} {scale * deviation:.1f}"


def _words(name: str) -> str:
    level, figure = name.split("_")
    return f"{level} {figure.upper()}"


def _plain(text: str) -> str:
    return text.translate(_MARKDOWN_SPECIAL)


def _markdown_row(texts: list[str]) -> str:
    return "| " + " | ".join(_plain(text) for text in texts) + " |"
