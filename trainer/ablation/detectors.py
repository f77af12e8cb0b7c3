"""The plan behind `vigil compare`: a row for each shipped preset of every family of detectors.

Rows come from the presets that are there, so a new system is in the table as soon as its preset is;
beside a preset that follows a paper stands what its authors report for the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engines.errors import DataError
from trainer.ablation.plan import PLANS, Beside, Group, Plan, PlanFile, Row
from trainer.preset import families

NAME: Final = "detectors"
BASELINE: Final = "speed"
# Short versions of other presets, made for a first try, and whole ones that need a GPU for hours.
LEFT_OUT: Final = frozenset({"demo", "mnad-paper", "top-heavy-whole"})

_PED2, _AVENUE, _SHANGHAI = "UCSD Ped2", "CUHK Avenue", "ShanghaiTech Campus"
PUBLISHED: Final[Mapping[tuple[str, str], Beside]] = {
    ("paper", "UCSD Ped1"): Beside(source="Fan et al. 2018, Table III", frame_auc=94.9),
    ("paper", _PED2): Beside(
        source="Fan et al. 2018, Table III",
        frame_auc=92.2,
        frame_eer=12.6,
        pixel_auc=78.2,
        pixel_eer=19.2,
    ),
    ("paper", _AVENUE): Beside(source="Fan et al. 2018, Table IV", frame_auc=83.4),
    ("mulde", _PED2): Beside(
        source="Micorek et al. 2024, object-centric (detector, pose, flow and CLIP features)",
        frame_auc=99.7,
    ),
    ("mulde", _AVENUE): Beside(
        source="Micorek et al. 2024, object-centric (detector, pose, flow and CLIP features)",
        frame_auc=94.3,
    ),
    ("mulde", _SHANGHAI): Beside(
        source="Micorek et al. 2024, object-centric (detector, pose, flow and CLIP features)",
        frame_auc=86.7,
    ),
    ("mnad", _PED2): Beside(
        source="Park et al. 2020, prediction, scores normalised by clip", frame_auc=97.0
    ),
    ("mnad", _AVENUE): Beside(
        source="Park et al. 2020, prediction, scores normalised by clip", frame_auc=88.5
    ),
    ("mnad", _SHANGHAI): Beside(
        source="Park et al. 2020, prediction, scores normalised by clip", frame_auc=70.5
    ),
}
"""By the preset that follows the authors, and name of the data set: their figures, in per cent."""


def detectors_plan(dataset: str, found: Mapping[str, Sequence[str]] | None = None) -> PlanFile:
    """The plan for a data set.

    Args:
        dataset: Its name, for the published figures.
        found: Presets by family; None: those that come with the program.

    Raises:
        DataError: There is no preset at all.
    """
    found = families() if found is None else found
    rows = [
        Row(
            name=name,
            what=f"preset {name}, detector {detector}",
            preset=name,
            beside=PUBLISHED.get((name, dataset)),
        )
        for detector, names in found.items()
        for name in names
        if name not in LEFT_OUT
    ]
    if not rows:
        raise DataError("there is no preset to compare", mend="install vigil again")
    names = [row.name for row in rows]
    base = BASELINE if BASELINE in names else names[0]
    plan = Plan(
        title="Detectors side by side",
        preset=base,
        groups=(
            Group(
                title=dataset,
                question="What does each detector reach here, at what cost? Differences are to "
                f"{base}, which learns no network.",
                rows=tuple(rows),
                base=base,
            ),
        ),
    )
    lines = dict.fromkeys(names, 1)
    return PlanFile(path=PLANS / f"{NAME}.yaml", plan=plan, lines=lines)
