"""An ablation plan: a base recipe and rows that each change one thing against it.

A plan is a YAML file in `trainer/ablations` or anywhere else:

    title: Ours
    preset: paper                       # the base recipe, as for `vigil train --preset`
    settings: [training.patches=20000]  # on top of it, as for `vigil train --set`
    groups:
      - title: Components
        question: How many components does the mixture need?
        base: k-20                      # the row that others are compared with; default: the first
        rows:
          - {name: k-20, what: twenty components}
          - {name: k-1, what: one Gaussian, settings: [model.components=1]}

Every problem is told at once, with its line; a misspelt key is a problem.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from edge.yaml_positions import Document, Problem, parse
from engines.errors import ConfigError, UsageError
from engines.model_spec import Strict
from trainer.shipped import find_recipe, shipped_names

PLANS = Path(__file__).parents[1] / "ablations"

PerCent = Annotated[float, Field(ge=0, le=100)]


def _setting(text: str) -> str:
    key, equals, _ = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not key=value, such as training.patches=20000")
    if key == "seed":
        raise ValueError("seeds are given by --seeds, not by a setting")
    return text


Setting = Annotated[str, AfterValidator(_setting)]
RowName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Beside(Strict):
    """Figures of somebody else to print beside a row, in per cent.

    Attributes:
        source: Where they stand, e.g. "Fan et al., Table VI, Ped1".
    """

    source: str
    frame_auc: PerCent | None = None
    frame_eer: PerCent | None = None
    pixel_auc: PerCent | None = None
    pixel_eer: PerCent | None = None


class Row(Strict):
    """One recipe of the table.

    Attributes:
        name: Unique in the plan; also the name of a folder.
        what: What is changed, a sentence.
        preset: Another preset than the plan's.
        settings: On top of the plan's, in order.
        beside: Figures to print beside it.
    """

    name: RowName
    what: Annotated[str, Field(min_length=1)]
    preset: str | None = None
    settings: tuple[Setting, ...] = ()
    beside: Beside | None = None


class Group(Strict):
    """Rows that answer one question.

    Attributes:
        title: A few words.
        question: What the rows together answer.
        rows: Each is one change against the base row.
        base: Name of the row that the others are compared with; None: the first.
    """

    title: str
    question: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    base: str | None = None

    @model_validator(mode="after")
    def _base_is_a_row(self) -> Group:
        names = [row.name for row in self.rows]
        if self.base is not None and self.base not in names:
            raise ValueError(f"base {self.base!r} is no row of the group, which has {names}")
        return self

    @property
    def base_name(self) -> str:
        """Name of the base row."""
        return self.base or self.rows[0].name


class Plan(Strict):
    """The whole of a plan file."""

    title: str
    preset: str
    settings: tuple[Setting, ...] = ()
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Plan:
        names = [row.name for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"row names must differ; twice there are: {', '.join(twice)}")
        return self

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in order."""
        return tuple(row for group in self.groups for row in group.rows)


@dataclass(frozen=True)
class PlanFile:
    """A plan and where it stands.

    Attributes:
        path: The file.
        plan: What it says.
        lines: Line of each row, counted from 1, by row name.
    """

    path: Path
    plan: Plan
    lines: Mapping[str, int]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def reference(self) -> str:
        """What `load_plan` finds it by from whatever folder."""
        return self.name if self.path.parent == PLANS else str(self.path.resolve())


def plan_names() -> list[str]:
    """Names of the plans that come with the program."""
    return shipped_names(PLANS)


def load_plan(name: str) -> PlanFile:
    """Read a plan by name or path; whether its rows resolve is `recipe.check_rows`' business.

    Raises:
        ConfigError: No such plan, not YAML, or keys and values that the model refuses; lists all.
    """
    path = find_recipe(name, PLANS, what="ablation plan")
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError("the plan is not UTF-8 text", where=str(path)) from error
    problems = list(document.problems)
    try:
        plan = Plan.model_validate(document.data)
    except ValidationError as error:
        problems += [_problem(details, document) for details in error.errors()]
        raise plan_error(path, problems) from None
    if problems:
        raise plan_error(path, problems)
    places = [(g, r) for g, group in enumerate(plan.groups) for r in range(len(group.rows))]
    lines = {
        plan.groups[g].rows[r].name: document.position(("groups", g, "rows", r))[0]
        for g, r in places
    }
    return PlanFile(path=path, plan=plan, lines=lines)


def choose_rows(plan: Plan, names: Sequence[str]) -> tuple[Row, ...]:
    """The rows with these names, in the plan's order; all where no name is given.

    Raises:
        UsageError: A name that no row has.
    """
    known = [row.name for row in plan.rows]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"there is no row {', '.join(unknown)} in the plan {plan.title!r}",
            where="--only",
            mend=f"choose from: {', '.join(known)}",
        )
    return tuple(row for row in plan.rows if not names or row.name in names)


def plan_error(path: Path, problems: Sequence[Problem]) -> ConfigError:
    """One error for all problems of a plan file, in the order of its lines."""
    lines = [one.render(str(path)) for one in sorted(problems, key=lambda one: one.position)]
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return ConfigError(
        f"{count} in the ablation plan:\n  " + "\n  ".join(lines),
        where=str(path),
        mend="mend the lines that are named",
    )


def _problem(details: ErrorDetails, document: Document) -> Problem:
    path = details["loc"]
    kind, message = details["type"], details["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = "unknown key" + _hint(str(path[-1]), path[:-1])
    elif kind == "missing":
        message = f"the key {str(path[-1])!r} is missing"
    return Problem(document.position(path), path, message)


def _hint(key: str, section: tuple[str | int, ...]) -> str:
    known = list(_model_at(section).model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _model_at(section: tuple[str | int, ...]) -> type[Strict]:
    """The model of the section that a path leads to."""
    steps = (part for part in section if isinstance(part, str))
    sections: dict[str, type[Strict]] = {"groups": Group, "rows": Row, "beside": Beside}
    model: type[Strict] = Plan
    for step in steps:
        model = sections.get(step, model)
    return model
