"""The ablation table as plain values: means, spreads and differences; nothing here prints.

A spread is the standard deviation of the sample over the seeds (n - 1), none for a single seed. A
difference to the base row is taken seed by seed, over the seeds that both rows have.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trainer.ablation.plan import Beside, Group, PlanFile, Row
from trainer.ablation.run_rows import pair_recipe
from trainer.ablation.study import Failure, Figures, Study

SCHEMA_VERSION = 1
FIGURES = ("frame_auc", "frame_eer", "pixel_auc", "pixel_eer")

State = Literal["done", "partial", "pending", "failed"]


@dataclass(frozen=True)
class Spread:
    """Mean over `count` seeds and standard deviation of the sample; None with one seed."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class RowResult:
    """One row of the table; AUC and EER are fractions, None where nothing is known (yet).

    Attributes:
        name: Of the row.
        what: What is changed.
        base: It is the row that the others of its group are compared with.
        state: "done" with all seeds, "partial" with some, "pending" with none, "failed" if a seed
            could not be run.
        seeds: Those that are done.
        outdated: Seeds whose figures are of another recipe or other package versions; left out.
        failures: Seeds that failed.
        figures: `FIGURES` of the fused map.
        streams: Frame AUC of each stream alone, by name.
        weights: Mean weight of each stream in the fusion, by name.
        parameters: Weights of all networks; None: not known yet.
        ms_per_frame: Milliseconds of scoring per frame.
        train_minutes: Minutes of training.
        clip_auc: Frame AUC with scores normalised by clip, as many published figures are.
        paper_auc: Frame AUC by the protocol of the detector's paper; None: it has none.
        network_bytes: FP16 files of all networks together; None: not known.
        precision_bytes: Files of all networks together, by precision.
        difference: `FIGURES` minus the base row's; empty for the base row.
        beside: Figures of somebody else.
    """

    name: str
    what: str
    base: bool
    state: State
    seeds: tuple[int, ...]
    outdated: tuple[int, ...]
    failures: tuple[Failure, ...]
    figures: Mapping[str, Spread | None]
    streams: Mapping[str, Spread]
    weights: Mapping[str, float]
    parameters: int | None
    ms_per_frame: Spread | None
    train_minutes: Spread | None
    clip_auc: Spread | None
    paper_auc: Spread | None
    network_bytes: int | None
    precision_bytes: Mapping[str, int]
    difference: Mapping[str, Spread | None]
    beside: Beside | None


@dataclass(frozen=True)
class GroupResult:
    """The rows that answer one question."""

    title: str
    question: str
    rows: tuple[RowResult, ...]


@dataclass(frozen=True)
class AblationTable:
    """The whole table.

    Attributes:
        title: Of the plan.
        plan: Its name.
        base: Its base recipe: preset and settings, as typed.
        dataset: Folder of the data set.
        seeds: That are asked for.
        threads: CPU threads of the runs, each number that occurs.
        streams: Names of all streams of all rows, in order of appearance.
        groups: With the rows.
    """

    title: str
    plan: str
    base: str
    dataset: str
    seeds: tuple[int, ...]
    threads: tuple[int, ...]
    streams: tuple[str, ...]
    groups: tuple[GroupResult, ...]

    @property
    def rows(self) -> tuple[RowResult, ...]:
        """All rows, in order."""
        return tuple(row for group in self.groups for row in group.rows)


@dataclass(frozen=True)
class _Found:
    """What is on disk of one row, by seed."""

    figures: dict[int, Figures]
    failures: dict[int, Failure]
    outdated: tuple[int, ...]


def build_table(plan: PlanFile, study: Study, seeds: Sequence[int]) -> AblationTable:
    """The table of what is there, finished or not.

    Raises:
        ConfigError: A row of the plan does not resolve.
        DataError: Figures cannot be read.
    """
    found = {row.name: _look(plan, row, study, seeds) for row in plan.plan.rows}
    all_figures = [one for row in found.values() for one in row.figures.values()]
    return AblationTable(
        title=plan.plan.title,
        plan=plan.name,
        base=" ".join((plan.plan.preset, *plan.plan.settings)),
        dataset=study.record.dataset,
        seeds=tuple(seeds),
        threads=tuple(sorted({one.threads for one in all_figures})),
        streams=tuple(dict.fromkeys(name for one in all_figures for name in one.streams)),
        groups=tuple(_group(group, found, seeds) for group in plan.plan.groups),
    )


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the values that are known; None if there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), deviation, len(known))


def difference(row: Mapping[int, Figures], base: Mapping[int, Figures], name: str) -> Spread | None:
    """Figure `name` of `row` minus that of `base`, over the seeds of both; by seed each."""
    pairs = [
        (getattr(row[seed].scores, name), getattr(base[seed].scores, name))
        for seed in sorted(row.keys() & base.keys())
    ]
    return spread(None if None in pair else pair[0] - pair[1] for pair in pairs)


def values_from_table(table: AblationTable) -> dict[str, Any]:
    """The table as a JSON object; fractions, milliseconds, minutes; what is not known is null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "title": table.title,
        "plan": table.plan,
        "base": table.base,
        "dataset": table.dataset,
        "seeds": list(table.seeds),
        "threads": list(table.threads),
        "groups": [
            {
                "title": group.title,
                "question": group.question,
                "rows": [_row_values(row) for row in group.rows],
            }
            for group in table.groups
        ],
    }


def _look(plan: PlanFile, row: Row, study: Study, seeds: Sequence[int]) -> _Found:
    figures, failures, outdated = {}, {}, []
    for seed in seeds:
        key, _ = pair_recipe(plan, row, seed, study)
        done, failure = study.figures(row.name, seed), study.failure(row.name, seed)
        if done is not None and done.key == key:
            figures[seed] = done
        elif failure is not None and failure.key == key:
            failures[seed] = failure
        elif done is not None:
            outdated.append(seed)
    return _Found(figures, failures, tuple(outdated))


def _group(group: Group, found: Mapping[str, _Found], seeds: Sequence[int]) -> GroupResult:
    base = group.base_name
    rows = tuple(
        _row(row, found[row.name], None if row.name == base else found[base], seeds)
        for row in group.rows
    )
    return GroupResult(title=group.title, question=group.question, rows=rows)


def _row(row: Row, found: _Found, base: _Found | None, seeds: Sequence[int]) -> RowResult:
    all_figures = list(found.figures.values())
    scores = [one.scores for one in all_figures]
    names = dict.fromkeys(name for one in all_figures for name in one.streams)
    alone = {
        name: spread(one.streams[name].frame_auc for one in all_figures if name in one.streams)
        for name in names
    }
    weights = {name: spread(one.weights.get(name) for one in all_figures) for name in names}
    return RowResult(
        name=row.name,
        what=row.what,
        base=base is None,
        state=_state(found, seeds),
        seeds=tuple(found.figures),
        outdated=found.outdated,
        failures=tuple(found.failures.values()),
        figures={name: spread(getattr(one, name) for one in scores) for name in FIGURES},
        streams={name: value for name, value in alone.items() if value is not None},
        weights={name: value.mean for name, value in weights.items() if value is not None},
        parameters=max((one.parameters for one in all_figures), default=None),
        ms_per_frame=spread(one.ms_per_frame for one in all_figures),
        train_minutes=spread(one.train_minutes for one in all_figures),
        clip_auc=spread(one.clip_auc for one in all_figures),
        paper_auc=spread(one.paper_auc for one in all_figures),
        network_bytes=max(
            (one.network_bytes for one in all_figures if one.network_bytes is not None),
            default=None,
        ),
        precision_bytes={
            name: max(one.precision_bytes.get(name, 0) for one in all_figures)
            for name in dict.fromkeys(name for one in all_figures for name in one.precision_bytes)
        },
        difference={}
        if base is None
        else {name: difference(found.figures, base.figures, name) for name in FIGURES},
        beside=row.beside,
    )


def _state(found: _Found, seeds: Sequence[int]) -> State:
    if found.failures:
        return "failed"
    if len(found.figures) == len(seeds):
        return "done"
    return "partial" if found.figures else "pending"


def _row_values(row: RowResult) -> dict[str, Any]:
    return {
        "name": row.name,
        "what": row.what,
        "base": row.base,
        "state": row.state,
        "seeds": list(row.seeds),
        "outdated": list(row.outdated),
        "failures": [
            {"seed": one.seed, "what": one.what, "where": one.where, "mend": one.mend}
            for one in row.failures
        ],
        **{name: _spread_values(value) for name, value in row.figures.items()},
        "streams": {name: _spread_values(value) for name, value in row.streams.items()},
        "weights": dict(row.weights),
        "parameters": row.parameters,
        "ms_per_frame": _spread_values(row.ms_per_frame),
        "train_minutes": _spread_values(row.train_minutes),
        "clip_normalised_frame_auc": _spread_values(row.clip_auc),
        "paper_protocol_frame_auc": _spread_values(row.paper_auc),
        "network_bytes": row.network_bytes,
        "precision_bytes": dict(row.precision_bytes),
        "difference": {name: _spread_values(value) for name, value in row.difference.items()},
        "beside": None if row.beside is None else _beside_values(row.beside),
    }


def _spread_values(value: Spread | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _beside_values(beside: Beside) -> dict[str, Any]:
    figures = {name: getattr(beside, name) for name in FIGURES}
    fractions = {
        name: None if value is None else round(value / 100.0, 6) for name, value in figures.items()
    }
    return {"source": beside.source, **fractions}
