"""A bundle tells what made it, and nothing of the folders of the machine that did."""

from __future__ import annotations

import shlex

import pytest

from trainer.cli.command_line import command_for_records


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("train --dataset /home/me/yard --out runs/a", "train --dataset yard --out runs/a"),
        ("train --dataset=/home/me/yard --out=/tmp/a", "train --dataset=yard --out=a"),
        ("train --set extractor.file=/home/me/f.onnx", "train --set extractor.file=f.onnx"),
        (
            "train --set training.patches=20000 --seed 3",
            "train --set training.patches=20000 --seed 3",
        ),
        ("ablate --plan '/home/a b/plan.yaml'", "ablate --plan plan.yaml"),
        ("survey --json - --fps 12.5", "survey --json - --fps 12.5"),
    ],
)
def test_of_an_absolute_path_the_name_stays(typed: str, kept: str) -> None:
    assert command_for_records(shlex.split(typed)) == f"vigil {kept}"
