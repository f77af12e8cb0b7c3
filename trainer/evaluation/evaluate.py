"""A bundle on the test part of a data set: from folder to `Evaluation`."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from calibration.stream_statistics import StreamStatistics
from edge.events.explain import Explainer
from edge.pipeline import Pipeline
from engines.bundle import Bundle
from engines.errors import DataError
from trainer.assemble import versions
from trainer.datasets.clip import Dataset
from trainer.evaluation.clip_progress import ClipProgress, SilentProgress
from trainer.evaluation.figures import (
    detection,
    event_figures,
    region_figures,
    stream_track,
    timeline,
)
from trainer.evaluation.gallery import Gallery
from trainer.evaluation.metrics_region import RegionMetrics
from trainer.evaluation.protocol import FUSED, ClipScores, stream_clips
from trainer.evaluation.result import Evaluation, Pictures, Provenance, Speed, StreamFootage
from trainer.evaluation.speed_baseline import build_speed_bundle

PICTURES_PER_SHELF = 4

OpenPipeline = Callable[[Bundle], Pipeline]


def evaluate_bundle(
    bundle: Bundle,
    dataset: Dataset,
    *,
    threads: int = 0,
    baseline: bool = True,
    pictures: int = PICTURES_PER_SHELF,
    open_pipeline: OpenPipeline | None = None,
    progress: ClipProgress | None = None,
) -> Evaluation:
    """Stream every test clip once through the bundle's pipeline and compare with the ground truth.

    Args:
        bundle: The detector.
        dataset: Its test clips are scored; its training clips fit the baseline only.
        threads: Threads of the networks; 0 lets the backend choose.
        baseline: Run the dense speed baseline over the same frames.
        pictures: Frames kept on each shelf of the gallery.
        open_pipeline: Opens a bundle; by default the pipeline of the runtime.
        progress: Is told about every frame.

    Raises:
        InputMissingError: The data set has no test clips, or a clip is not there.
        DataError: A clip cannot be read, or its ground truth does not fit its frames.
    """
    clips = dataset.require_test()
    opener = open_pipeline or (lambda one: Pipeline(one, threads=threads))
    report = progress or SilentProgress()
    gallery, regions = Gallery(pictures), RegionMetrics()
    notes = [*dataset.notes]
    with ExitStack() as stack:
        pipeline = stack.enter_context(opener(bundle))
        other = None
        if baseline:
            report.say(f"speed baseline: learning normal speed from {len(dataset.train)} clips")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-speed-")))
            try:
                speed = _speed_bundle(bundle, dataset, folder)
            except DataError as error:
                # The bundle can be measured without a baseline; the report says why there is none.
                notes.append(f"no speed baseline: {error.what}")
            else:
                other = stack.enter_context(opener(speed))
        scores = list(
            stream_clips(
                clips,
                pipeline,
                frame_spec=bundle.model.frame,
                gallery=gallery,
                regions=regions,
                baseline=other,
                progress=report,
                explain=Explainer.of_bundle(bundle).explain,
                threshold=None if bundle.alarm is None else bundle.alarm.threshold,
            )
        )
        cost = _speed(pipeline, scores, threads)
    notes += _footage_notes(scores)
    events, rates = event_figures(scores, bundle.alarm)
    return Evaluation(
        provenance=_provenance(bundle, dataset, tuple(notes)),
        detector=detection(scores, stream_track(FUSED)),
        streams={
            stream.name: detection(scores, stream_track(stream.name))
            for stream in bundle.model.streams
        },
        baseline=None if other is None else detection(scores, lambda clip: clip.baseline),
        regions=region_figures(regions, scores),
        alarm=bundle.alarm,
        events=events,
        at_threshold=rates,
        speed=cost,
        timelines=tuple(timeline(clip, bundle.alarm) for clip in scores),
        pictures=Pictures(
            highest=gallery.highest.moments,
            lowest=gallery.lowest.moments,
            false_alarms=gallery.false_alarms.moments,
            misses=gallery.misses.moments,
        ),
        footage=_footage(bundle),
        trust=bundle.model.trust,
    )


def _speed_bundle(bundle: Bundle, dataset: Dataset, folder: Path) -> Bundle:
    if not dataset.train:
        raise DataError("the data set has no training clips to fit it on", where=str(dataset.root))
    return build_speed_bundle(dataset.train, frame=bundle.model.frame, root=folder)


def _speed(pipeline: Pipeline, scores: Sequence[ClipScores], threads: int) -> Speed:
    frames = sum(clip.frames for clip in scores)
    return Speed(
        frames=frames,
        read_s=sum(clip.read_s for clip in scores),
        score_s=sum(clip.score_s for clip in scores),
        threads=threads,
        cpu=os.cpu_count() or 1,
        backends=dict(pipeline.backends),
        stage_ms={name: total / max(frames, 1) for name, total in pipeline.stage_ms.items()},
    )


def _footage(bundle: Bundle) -> tuple[StreamFootage, ...]:
    """What stands behind each stream, from its statistics."""
    found = []
    for stream in bundle.model.streams:
        statistics = StreamStatistics.from_arrays(bundle.arrays(stream.statistics))
        found.append(
            StreamFootage(
                name=stream.name,
                kind=stream.input.kind,
                weight=stream.weight,
                count=statistics.cells.count,
                samples=statistics.tail.count,
            )
        )
    return tuple(found)


def _footage_notes(scores: Sequence[ClipScores]) -> list[str]:
    """What was left out while scoring, each with its count."""
    notes = []
    for clip in scores:
        name = clip.clip.name
        if clip.skipped:
            notes.append(f"clip {name}: {_frames(clip.skipped)} could not be read")
        if clip.frames > clip.index.size:
            beyond = _frames(clip.frames - clip.index.size)
            notes.append(f"clip {name}: {beyond} beyond its labels, scored but not judged")
        if clip.labels is None:
            notes.append(f"clip {name}: no ground truth, scored but not judged")
    return notes


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"


def _provenance(bundle: Bundle, dataset: Dataset, notes: tuple[str, ...]) -> Provenance:
    training = bundle.model.training
    now = datetime.datetime.now(datetime.timezone.utc)
    return Provenance(
        bundle=bundle.model.name,
        bundle_digest=bundle.digest,
        bundle_path=str(bundle.root),
        seed=training.seed,
        preset=training.preset,
        trained_on=f"{training.dataset} ({training.clips} clips, {training.frames:,} frames)",
        command=training.command,
        dataset=dataset.name,
        dataset_layout=dataset.layout,
        dataset_path=str(dataset.root),
        label_source=dataset.label_source,
        notes=notes,
        versions=versions(),
        created=now.strftime("%Y-%m-%d %H:%M UTC"),
    )
