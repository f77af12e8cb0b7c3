"""Rows one after another: train, evaluate, keep the figures; what is done is not done again.

Seeds are the outer loop, so that the table is whole with one seed before the next begins. The
figures of a pair are written last and at once: a kill before them costs what `run_training` with
`resume` cannot take up, an epoch at most, or the evaluation.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from edge.pipeline import Pipeline
from engines.atomic import write_text
from engines.bundle import Bundle
from engines.errors import DataError, VigilError
from engines.model_spec import Precision
from trainer.ablation.plan import PlanFile, Row
from trainer.ablation.recipe import recipe_key, resolve_row
from trainer.ablation.study import EVALUATION_NAME, Failure, Figures, Scores, Study
from trainer.assemble import versions
from trainer.datasets.clip import Dataset
from trainer.distributed import Ranks
from trainer.evaluation.clip_progress import ClipProgress, SilentProgress
from trainer.evaluation.clip_protocol import clip_normalised_auc
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.paper_protocol import paper_protocol_auc
from trainer.evaluation.report_json import json_from_evaluation
from trainer.evaluation.result import Detection, Evaluation
from trainer.preset import Preset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.quantise_bundle import quantise_bundle
from trainer.run_directory import RECORD_NAME
from trainer.run_training import TrainingRequest, run_training
from trainer.shared_work import SharedWork

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Watch:
    """Who is told: of the training, of each evaluation, and in words of the pairs."""

    training: TrainingProgress = field(default_factory=SilentTraining)
    evaluation: Callable[[], AbstractContextManager[ClipProgress]] = lambda: nullcontext(
        SilentProgress()
    )

    def say(self, line: str) -> None:
        """A line to keep."""
        self.training.end()
        self.training.say(line)


@dataclass(frozen=True)
class AblationRequest:
    """What is to be run.

    Attributes:
        plan: The plan; `recipe.check_rows` has passed its rows.
        rows: Of these rows.
        seeds: Each row is run with each.
        dataset: Its training part is learned from, its test part judges.
        study: The folder.
        threads: CPU threads of training and evaluation.
        command: The command line, for the record.
        keep_bundles: Leave each run's bundle in its run directory.
        int8: Make INT8 networks too, from the training part, to know their size; the figures stay
            those of FP32. Pairs that are done already stay as they are.
    """

    plan: PlanFile
    rows: Sequence[Row]
    seeds: Sequence[int]
    dataset: Dataset
    study: Study
    threads: int
    command: str
    keep_bundles: bool = False
    int8: bool = False


def run_rows(request: AblationRequest, ranks: Ranks, watch: Watch | None = None) -> list[Failure]:
    """Run every pair of row and seed that is not done.

    Rows that come to the same recipe are run once and share the figures. A pair that failed in an
    earlier call is tried again.

    Returns:
        The pairs that failed now.

    Raises:
        CannotCreateError: The folder cannot be written; nothing more can be kept.
        DataError: Figures that are there cannot be read.
    """
    watch = watch or Watch()
    study = request.study
    known = {figures.key: figures for figures in study.all_figures()}
    failed: dict[str, Failure] = {}
    failures = []
    pairs = [(row, seed) for seed in request.seeds for row in request.rows]
    for number, (row, seed) in enumerate(pairs, start=1):
        title = f"[{number}/{len(pairs)}] {row.name}, seed {seed}"
        key, preset = pair_recipe(request.plan, row, seed, study)
        done = study.figures(row.name, seed)
        if done is not None and done.key == key:
            study.prune(row.name, seed, keep_bundle=True)  # if a kill came before that
            watch.say(f"{title}: done")
        elif key in known:
            watch.say(f"{title}: the same recipe as {known[key].row}")
            study.finish(row.name, known[key])
        elif key in failed:
            failures.append(failed[key].model_copy(update={"row": row.name}))
            study.fail(failures[-1])
        else:
            watch.say(f"{title}: {row.what}")
            try:
                known[key] = _run_pair(request, row, preset, key, ranks, watch)
            except VigilError as error:
                watch.say(f"{title}: failed: {error}")
                failed[key] = _failure(error, row, seed, key)
                failures.append(failed[key])
                study.fail(failures[-1])
    if _complete(request):
        study.drop_cache()
    return failures


def pair_recipe(plan: PlanFile, row: Row, seed: int, study: Study) -> tuple[str, Preset]:
    """Key and resolved preset of a row with a seed, on the data set of a study.

    Raises:
        ConfigError: The row does not resolve.
    """
    preset = resolve_row(plan, row, seed)
    record = study.record
    key = recipe_key(
        preset,
        dataset=record.dataset,
        layout=record.layout,
        fps=record.fps,
        versions=versions(),
    )
    return key, preset


def _run_pair(
    request: AblationRequest, row: Row, preset: Preset, key: str, ranks: Ranks, watch: Watch
) -> Figures:
    study, seed = request.study, preset.seed
    study.begin(row.name, seed, key)
    training = TrainingRequest(
        dataset=request.dataset,
        preset=preset,
        out=study.run(row.name, seed),
        resume=True,
        command=request.command,
        threads=request.threads,
        shared=study.cache,
    )
    bundle = run_training(training, ranks, watch.training)
    assert bundle is not None  # one process only
    watch.training.end()
    with watch.evaluation() as progress:
        answers = SharedWork(study.cache).answers
        evaluation = evaluate_bundle(
            bundle,
            request.dataset,
            threads=request.threads,
            baseline=False,
            open_pipeline=lambda one: Pipeline(
                one, threads=request.threads, wrap=answers.wrap(one)
            ),
            progress=progress,
        )
        known = evaluation.detector.frame.auc is not None
        paper_auc = (
            paper_protocol_auc(training.out, preset, request.dataset, progress) if known else None
        )
    record = json.loads((training.out / RECORD_NAME).read_bytes())
    figures = _figures(
        bundle, evaluation, paper_auc, row.name, key, float(record["seconds"]), answers.saved_s
    )
    if request.int8 and figures.parameters:
        sizes = {**figures.precision_bytes, **_int8_bytes(bundle, request, watch)}
        figures = figures.model_copy(update={"precision_bytes": sizes})
    write_text(study.pair(row.name, seed) / EVALUATION_NAME, json_from_evaluation(evaluation))
    study.finish(row.name, figures)
    study.prune(row.name, seed, keep_bundle=request.keep_bundles)
    return figures


def _int8_bytes(bundle: Bundle, request: AblationRequest, watch: Watch) -> dict[str, int]:
    """Size of all networks in INT8; empty where the gate refuses one."""
    try:
        with watch.evaluation() as progress:
            made = quantise_bundle(
                bundle,
                request.dataset.require_train(),
                threads=request.threads,
                write=False,
                progress=progress,
            )
    except DataError as error:
        watch.say(f"no INT8: {error.what}")
        return {}
    return {"int8": sum(one.sizes["int8"] for one in made)}


def _precision_bytes(bundle: Bundle) -> dict[str, int]:
    """Size of all networks together in each precision that all have."""
    files = [stream.network.files for stream in bundle.model.streams if stream.network]
    shared = [name for name in _PRECISIONS if all(name in one for one in files)]
    return {name: sum(bundle.path(one[name]).stat().st_size for one in files) for name in shared}


def _figures(
    bundle: Bundle,
    evaluation: Evaluation,
    paper_auc: float | None,
    row: str,
    key: str,
    train_s: float,
    saved_s: float,
) -> Figures:
    speed, streams = evaluation.speed, bundle.model.streams
    sizes = _precision_bytes(bundle)
    return Figures(
        key=key,
        row=row,
        seed=bundle.model.training.seed,
        scores=_scores(evaluation.detector),
        streams={name: _scores(found) for name, found in evaluation.streams.items()},
        weights={stream.name: stream.weight for stream in streams},
        parameters=sum(stream.network.parameters for stream in streams if stream.network),
        ms_per_frame=1000.0 * (speed.score_s + saved_s) / max(speed.frames, 1),
        train_minutes=train_s / 60.0,
        clip_auc=clip_normalised_auc(evaluation.timelines),
        paper_auc=paper_auc,
        network_bytes=sizes.get("fp16"),
        precision_bytes=sizes,
        frames=speed.frames,
        threads=speed.threads,
        versions=evaluation.provenance.versions,
        finished=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _scores(detection: Detection) -> Scores:
    frame, pixel = detection.frame, detection.pixel
    return Scores(
        frame_auc=frame.auc, frame_eer=frame.eer, pixel_auc=pixel.auc, pixel_eer=pixel.eer
    )


def _failure(error: VigilError, row: Row, seed: int, key: str) -> Failure:
    return Failure(
        key=key,
        row=row.name,
        seed=seed,
        what=error.what,
        where=error.where,
        mend=error.mend,
        exit_code=error.exit_code,
    )


def _complete(request: AblationRequest) -> bool:
    """Whether all rows of the plan, not only those asked for, are there with every seed begun."""
    study = request.study
    rows: Iterable[Row] = request.plan.plan.rows
    pairs = [(row, seed) for row in rows for seed in study.seeds()]
    found = ((study.figures(row.name, seed), row, seed) for row, seed in pairs)
    return all(
        figures is not None and figures.key == pair_recipe(request.plan, row, seed, study)[0]
        for figures, row, seed in found
    )
