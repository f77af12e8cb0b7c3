"""Why the streams have their weights: the bundle's trust record as a table and as JSON."""

from __future__ import annotations

from typing import Any

from trainer.evaluation.report_facts import percent
from trainer.evaluation.result import Evaluation

PRESET = (
    "The weights are the preset's: no anomalies were planted into this scene's normal footage to "
    "measure what each stream sees in it."
)

# What was planted, for people; a kind that is not here goes by its name.
KIND_WORDS = {
    "fast": "somebody runs through",
    "object": "a thing of another kind",
    "posture": "somebody falls or crawls",
    "near": "something close to the camera",
    "slow_object": "a thing that hardly moves",
    "rider": "a cyclist or skater",
    "reversed": "everything backwards",
    "frozen": "somebody stands like a statue",
    "hurry": "everybody hurries",
}

Row = dict[str, Any]


def trust_rows(evaluation: Evaluation) -> Row:
    """What the page shows: columns, one row a kind, reason, kinds left out."""
    record = evaluation.trust
    streams = [
        {"name": one.name, "kind": one.kind, "weight": f"{one.weight:.2f}"}
        for one in evaluation.footage
    ]
    if record is None:
        return {"streams": streams, "reason": PRESET, "measured": "", "kinds": [], "left_out": []}
    kinds = list(
        dict.fromkeys([*record.fused, *(k for row in record.streams.values() for k in row)])
    )
    return {
        "streams": streams,
        "reason": record.reason[:1].upper() + record.reason[1:] + ".",
        "measured": f"{record.clips} synthetic clips, {record.frames:,} frames",
        "kinds": [
            _kind_row(
                kind,
                [record.streams.get(stream["name"], {}).get(kind) for stream in streams],
                record.fused.get(kind),
            )
            for kind in kinds
        ],
        "left_out": [
            {"name": kind, "words": KIND_WORDS.get(kind, ""), "why": why}
            for kind, why in record.left_out.items()
        ],
    }


def trust_values(evaluation: Evaluation) -> Row | None:
    """The record for the JSON report, with the weights in force; None: they are the preset's."""
    if evaluation.trust is None:
        return None
    return evaluation.trust.model_dump(mode="json")


def weights_of(evaluation: Evaluation) -> dict[str, float]:
    """Each stream's share in the fusion."""
    return {one.name: one.weight for one in evaluation.footage}


def _kind_row(kind: str, alone: list[float | None], fused: float | None) -> Row:
    best = max((value for value in alone if value is not None), default=None)
    return {
        "name": kind,
        "words": KIND_WORDS.get(kind, ""),
        "alone": [
            {"figure": percent(value), "best": value is not None and value == best}
            for value in alone
        ],
        "fused": percent(fused),
    }
