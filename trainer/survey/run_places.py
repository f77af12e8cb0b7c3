"""Render, train and score at every place; what is done is not done again.

OUT/places/NAME-DIGEST/scene         the rendered clips, removed when the place is done
OUT/places/NAME-DIGEST/run           the run directory with the bundle
OUT/places/NAME-DIGEST/figures.json  what was found; its place is not run again while it is there
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from engines.atomic import write_text
from engines.errors import DataError, InternalError, VigilError
from trainer.datasets.layouts import open_dataset
from trainer.distributed import Ranks
from trainer.evaluation.score_clips import score_clips
from trainer.preset import Preset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.run_training import TrainingRequest, run_training
from trainer.scenes import render_scene
from trainer.survey.figures import SCHEMA, PlaceFigures, place_figures
from trainer.survey.places import Place

FIGURES_NAME = "figures.json"
# `render_scene` writes it last: a scene that has it is whole.
_SCENE_DONE = "labels.csv"


@dataclass(frozen=True)
class SurveyRequest:
    """What is surveyed.

    Attributes:
        preset: Resolved recipe, the same at all places.
        places: Where.
        out: Folder of everything that is made.
        ranks: This process; a survey runs in one.
        threads: CPU threads.
        command: The command line, for the record of each bundle.
        keep: Leave the rendered clips.
    """

    preset: Preset
    places: tuple[Place, ...]
    out: Path
    ranks: Ranks
    threads: int
    command: str
    keep: bool = False


@dataclass(frozen=True)
class PlaceFailure:
    """A place that could not be measured, and why; see `VigilError`."""

    place: Place
    what: str
    where: str | None
    mend: str | None


@dataclass(frozen=True)
class Survey:
    """What was found at every place, in their order."""

    preset: str
    outcomes: tuple[PlaceFigures | PlaceFailure, ...]

    @property
    def measured(self) -> tuple[PlaceFigures, ...]:
        """Places with figures."""
        return tuple(one for one in self.outcomes if isinstance(one, PlaceFigures))

    @property
    def failed(self) -> tuple[PlaceFailure, ...]:
        """Places without."""
        return tuple(one for one in self.outcomes if isinstance(one, PlaceFailure))


def run_survey(request: SurveyRequest, progress: TrainingProgress | None = None) -> Survey:
    """Measure every place; an error of one is kept, and the others go on.

    Killed and called again with the same request it goes on where it stopped.
    """
    report = progress or SilentTraining()
    outcomes: list[PlaceFigures | PlaceFailure] = []
    for number, place in enumerate(request.places, start=1):
        report.say(f"[{number}/{len(request.places)}] {place.title}")
        try:
            outcomes.append(survey_place(place, request, report))
        except VigilError as error:
            report.end()
            report.say(f"failed: {error}")
            outcomes.append(PlaceFailure(place, error.what, error.where, error.mend))
    return Survey(request.preset.name, tuple(outcomes))


def survey_place(place: Place, request: SurveyRequest, progress: TrainingProgress) -> PlaceFigures:
    """Figures of one place, measured now or before.

    Raises:
        VigilError: What rendering, training and scoring raise.
    """
    recipe = recipe_digest(request.preset, place)
    folder = request.out / "places" / f"{place.slug}-{recipe[:10]}"
    known = _known_figures(folder / FIGURES_NAME, recipe)
    if known is not None:
        progress.say("its figures are there already")
        return known
    scene = folder / "scene"
    _render(place, scene, progress)
    dataset = open_dataset(scene)
    bundle = run_training(
        TrainingRequest(
            dataset=dataset,
            preset=request.preset,
            out=folder / "run",
            resume=True,
            command=request.command,
            threads=request.threads,
        ),
        request.ranks,
        progress,
    )
    progress.end()
    if bundle is None:
        raise InternalError("a survey runs in one process", mend="start it without torchrun")
    clips = score_clips(bundle, dataset, threads=request.threads, progress=_Scoring(progress))
    figures = place_figures(place, bundle, clips, recipe=recipe)
    write_text(folder / FIGURES_NAME, figures.model_dump_json(indent=1) + "\n")
    if not request.keep:
        shutil.rmtree(scene, ignore_errors=True)
    return figures


def recipe_digest(preset: Preset, place: Place) -> str:
    """SHA-256 of all that decides the figures of a place, but for the program itself."""
    parts = {
        "schema": SCHEMA,
        "preset": preset.model_dump(mode="json"),
        "place": place.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _known_figures(path: Path, recipe: str) -> PlaceFigures | None:
    """Figures of an earlier run of the same recipe, None if there are none.

    Raises:
        DataError: The file is there but holds something else.
    """
    if not path.is_file():
        return None
    try:
        figures = PlaceFigures.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{FIGURES_NAME} holds no figures of a place", where=str(path), mend="remove the file"
        ) from error
    return figures if figures.recipe == recipe else None


def _render(place: Place, scene: Path, progress: TrainingProgress) -> None:
    """Render the clips unless they are there; what a kill left of them is removed first."""
    if (scene / _SCENE_DONE).is_file():
        return
    shutil.rmtree(scene, ignore_errors=True)
    begun = False

    def tick(_: int, total: int) -> None:
        nonlocal begun
        if not begun:
            progress.begin("rendering", total=total)
            begun = True
        progress.advance()

    render_scene(place.scene(), scene, progress=tick)
    progress.end()


class _Scoring:
    """Shows the clips being scored as pieces of work; a `ClipProgress`."""

    def __init__(self, progress: TrainingProgress) -> None:
        self._progress = progress

    def say(self, text: str) -> None:
        self._progress.say(text)

    def begin(self, name: str, *, number: int, of: int, frames: int | None) -> None:
        self._progress.begin(f"scoring {number}/{of} {name}", total=frames or 0)

    def frame(self) -> None:
        self._progress.advance()

    def end(self) -> None:
        self._progress.end()
