"""The folder of an ablation: what is finished, what failed, and where runs work.

ablation.json                      data set and plan; a folder holds one of each
rows/ROW/seedN/figures.json        what the table needs, written last: the pair is done
rows/ROW/seedN/evaluation.json     all figures of its evaluation
rows/ROW/seedN/failure.json        why the pair could not be done
rows/ROW/seedN/run/                its run directory; recipe, record and loss curves stay
cache/...                          what rows share, until the plan is complete: features, patches,
                                   trained encoders
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from engines.atomic import write_text
from engines.errors import CannotCreateError, DataError, InputMissingError, UsageError
from engines.manifest import explain
from engines.model_spec import Strict

RECORD_NAME = "ablation.json"
FIGURES_NAME = "figures.json"
FAILURE_NAME = "failure.json"
EVALUATION_NAME = "evaluation.json"
_CLAIM_NAME = "running.txt"
# What a run needs for being gone on with, and nobody afterwards.
_WORK_FILES = ("streams/**/*.pt", "streams/**/*.onnx")

Model = TypeVar("Model", bound=Strict)


class Scores(Strict):
    """AUC and EER as fractions; None where a class or the masks are missing."""

    frame_auc: float | None = None
    frame_eer: float | None = None
    pixel_auc: float | None = None
    pixel_eer: float | None = None


class Figures(Strict):
    """What one row gave with one seed.

    Attributes:
        key: See `recipe.recipe_key`.
        row: The row that was run; another one's name where the figures are shared.
        seed: Seed of the run.
        scores: Of the fused map.
        streams: Of each stream alone, by name.
        weights: Of the streams in the fusion, as the preset says or as learned.
        parameters: Weights of all networks together.
        ms_per_frame: Milliseconds of scoring per frame, reading not included.
        train_minutes: Wall clock of the training from clips to bundle.
        clip_auc: Frame AUC with scores normalised by clip; None where it is not known.
        paper_auc: Frame AUC by the protocol of the detector's paper, see
            `trainer.evaluation.paper_protocol`; None where it has none that can be followed.
        network_bytes: Size of the networks' files in FP16, all together, from which engines are
            built; None where it is not known.
        precision_bytes: The same in each precision that all networks have; "int8" where it was
            asked for and passes the gate.
        frames: Test frames.
        threads: CPU threads that both ran with.
        versions: Of the packages that have a part in the numbers.
        finished: UTC.
    """

    schema_version: Literal[1] = 1
    key: str
    row: str
    seed: int
    scores: Scores
    streams: dict[str, Scores]
    weights: dict[str, float]
    parameters: int
    ms_per_frame: float
    train_minutes: float
    clip_auc: float | None = None
    paper_auc: float | None = None
    network_bytes: int | None = None
    precision_bytes: dict[str, int] = Field(default_factory=dict)
    frames: int
    threads: int
    versions: dict[str, str]
    finished: str


class Failure(Strict):
    """Why a row could not be done with one seed: the three lines of a `VigilError`, its code."""

    key: str
    row: str
    seed: int
    what: str
    where: str | None
    mend: str | None
    exit_code: int


class StudyRecord(Strict):
    """What an ablation folder is of."""

    format: Literal["vigil-ablation"] = "vigil-ablation"
    dataset: str
    layout: str | None
    fps: float | None
    plan: str


class Study:
    """Paths, figures and failures of one ablation; `open_study` and `read_study` make one."""

    def __init__(self, root: Path, record: StudyRecord) -> None:
        self.root = root
        self.record = record

    @property
    def cache(self) -> Path:
        """Folder of what rows share."""
        return self.root / "cache"

    def pair(self, row: str, seed: int) -> Path:
        """Folder of a row with a seed."""
        return self.root / "rows" / row / f"seed{seed}"

    def run(self, row: str, seed: int) -> Path:
        """Run directory of a row with a seed."""
        return self.pair(row, seed) / "run"

    def seeds(self) -> tuple[int, ...]:
        """Seeds that any row was begun with."""
        folders = (self.root / "rows").glob("*/seed*")
        names = {folder.name.removeprefix("seed") for folder in folders}
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def figures(self, row: str, seed: int) -> Figures | None:
        """What is there of a pair, of whatever recipe it is.

        Raises:
            DataError: The file is not what it must be.
        """
        return _read(self.pair(row, seed) / FIGURES_NAME, Figures)

    def failure(self, row: str, seed: int) -> Failure | None:
        """Why a pair failed when it was last tried; None: it did not.

        Raises:
            DataError: The file is not what it must be.
        """
        return _read(self.pair(row, seed) / FAILURE_NAME, Failure)

    def all_figures(self) -> Iterator[Figures]:
        """Of every pair that is done."""
        for path in sorted((self.root / "rows").glob(f"*/seed*/{FIGURES_NAME}")):
            found = _read(path, Figures)
            assert found is not None
            yield found

    def begin(self, row: str, seed: int, key: str) -> None:
        """Claim a pair's run directory: one that was begun with the same key is gone on with.

        Raises:
            CannotCreateError: The folder cannot be written.
        """
        folder = self.pair(row, seed)
        claim = folder / _CLAIM_NAME
        if not claim.is_file() or claim.read_text(encoding="utf-8") != key:
            shutil.rmtree(self.run(row, seed), ignore_errors=True)
            write_text(claim, key)

    def finish(self, row: str, figures: Figures) -> None:
        """Keep the figures of a pair; from here on it is done.

        Raises:
            CannotCreateError: The folder cannot be written.
        """
        folder = self.pair(row, figures.seed)
        write_text(folder / FIGURES_NAME, figures.model_dump_json(indent=1) + "\n")
        (folder / FAILURE_NAME).unlink(missing_ok=True)

    def fail(self, failure: Failure) -> None:
        """Keep the reason why a pair failed; its run directory stays to be gone on with.

        Raises:
            CannotCreateError: The folder cannot be written.
        """
        folder = self.pair(failure.row, failure.seed)
        write_text(folder / FAILURE_NAME, failure.model_dump_json(indent=1) + "\n")

    def prune(self, row: str, seed: int, *, keep_bundle: bool) -> None:
        """Remove what is heavy of a pair that is done."""
        run = self.run(row, seed)
        shutil.rmtree(run / "patches", ignore_errors=True)
        if not keep_bundle:
            shutil.rmtree(run / "bundle", ignore_errors=True)
        for pattern in _WORK_FILES:
            for path in run.glob(pattern):
                path.unlink()
        (self.pair(row, seed) / _CLAIM_NAME).unlink(missing_ok=True)

    def drop_cache(self) -> None:
        """Remove what rows shared: the footage can give it again."""
        shutil.rmtree(self.cache, ignore_errors=True)


def open_study(root: Path, record: StudyRecord) -> Study:
    """Begin an ablation in a new or empty folder, or go on with the one that is there.

    Raises:
        UsageError: The folder holds the ablation of another data set or plan.
        CannotCreateError: It holds something else, or cannot be written.
        DataError: `ablation.json` is not what it must be.
    """
    known = _read(root / RECORD_NAME, StudyRecord)
    if known is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise CannotCreateError(
                "the folder is not empty and holds no ablation, so it is left alone",
                where=str(root),
                mend="choose another --out, or empty the folder yourself",
            )
        write_text(root / RECORD_NAME, json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
        return Study(root, record)
    old, new = known.model_dump(), record.model_dump()
    differing = [f"{key}: {old[key]!r}, now {new[key]!r}" for key in new if old[key] != new[key]]
    if differing:
        raise UsageError(
            f"the folder holds another ablation: {'; '.join(differing)}",
            where=str(root),
            mend="choose another --out: a folder holds one plan on one data set",
        )
    return Study(root, record)


def read_study(root: Path) -> Study:
    """The ablation that is there, for looking at.

    Raises:
        InputMissingError: There is none.
        DataError: `ablation.json` is not what it must be.
    """
    record = _read(root / RECORD_NAME, StudyRecord)
    if record is None:
        raise InputMissingError(
            "the folder holds no ablation",
            where=str(root),
            mend="give the --out of an earlier `vigil ablate`",
        )
    return Study(root, record)


def _read(path: Path, model: type[Model]) -> Model | None:
    if not path.is_file():
        return None
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{path.name} is not what `vigil ablate` writes: {explain(error)}",
            where=str(path),
            mend="delete the file; the pair is then run again",
        ) from error
