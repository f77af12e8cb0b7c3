"""From a row of a plan to its resolved preset, checked before anything runs, and its key.

The key is one hash of all that decides a row's figures: two rows with the same key are one run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from edge.inputs import open_input
from edge.yaml_positions import Problem
from engines.errors import VigilError
from engines.manifest import explain
from engines.model_spec import MapSpec, ModelSpec, TrainingRecord
from trainer.ablation.plan import PlanFile, Row, plan_error
from trainer.preset import Preset, load_preset
from trainer.preset_sections import StreamPreset
from trainer.stream_parts import StreamParts, stream_spec

# Stands for an option that is measured on the footage: any number that every kind takes.
_MEASURED = 40.0


def resolve_row(plan: PlanFile, row: Row, seed: int) -> Preset:
    """The preset that a row trains with a seed.

    A preset's path that is relative counts from the plan's folder if it is there.

    Raises:
        ConfigError: A setting or the preset is wrong.
    """
    name = row.preset or plan.plan.preset
    beside = plan.path.parent / name
    if name.endswith(".yaml") and beside.is_file():
        name = str(beside.resolve())
    return load_preset(name, (*plan.plan.settings, *row.settings, f"seed={seed}"))


def check_rows(plan: PlanFile, rows: Sequence[Row]) -> None:
    """Resolve every row and open its inputs, so that a slip is found now and not after hours.

    Raises:
        ConfigError: Rows that cannot be run; names all with their lines.
    """
    problems = []
    for row in rows:
        try:
            _check_recipe(resolve_row(plan, row, seed=0))
        except VigilError as error:
            wrong = error.what
        except ValidationError as error:
            wrong = explain(error)
        else:
            continue
        message = f"row {row.name!r} cannot be run: {wrong}"
        problems.append(Problem((plan.lines[row.name], 1), (), message))
    if problems:
        raise plan_error(plan.path, problems)


def recipe_key(
    preset: Preset,
    *,
    dataset: str,
    layout: str | None,
    fps: float | None,
    versions: Mapping[str, str],
) -> str:
    """Hash of a resolved preset, of the data set as it was named, and of the packages' versions.

    The preset's name is no part of it; its seed is.

    Returns:
        64 hex digits.
    """
    values: dict[str, Any] = {
        "preset": preset.model_dump(mode="json", exclude={"name"}),
        # A rate that is left out is the footage's, though the model shows a number.
        "fps_stated": "fps" in preset.frame.model_fields_set,
        "dataset": dataset,
        "layout": layout,
        "fps": fps,
        "versions": dict(versions),
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_recipe(preset: Preset) -> None:
    """What would fail only once the inputs are opened or the bundle is put together."""
    for stream in preset.streams:
        known = dict.fromkeys(stream.unmeasured, _MEASURED)
        open_input(stream.test_input(known), frame=preset.frame, gate=preset.gate)
        if stream in preset.patch_streams:
            open_input(stream.train_input(known), frame=preset.frame, gate=preset.gate)
    ModelSpec(
        name=preset.name,
        frame=preset.frame,
        gate=preset.gate,
        streams=tuple(stream_spec(_unlearned(stream)) for stream in preset.streams),
        map=MapSpec(rows=1, columns=1),
        fusion=preset.fusion,
        training=TrainingRecord(
            dataset="",
            preset=preset.name,
            seed=preset.seed,
            command="",
            versions={},
            clips=0,
            frames=0,
            seconds=0.0,
        ),
    )


def _unlearned(stream: StreamPreset) -> StreamParts:
    return StreamParts(
        name=stream.name,
        input=stream.test_input(dict.fromkeys(stream.unmeasured, _MEASURED)),
        weight=stream.weight,
        learned=None,
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )
